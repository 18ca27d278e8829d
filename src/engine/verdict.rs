//! One pure function from what happened to the word for it. The first row that applies wins, in the order of the
//! HTTP contract; nothing else in the engine names an outcome, except that a failed compile phase makes the whole a
//! [`Verdict::CompileError`].

use sandboxd_contract::Exit;

use super::signals::{meaning, signal_name};
use super::{LimitName, Limits, Stream, Verdict};

/// What is known of an ended phase, as far as it bears on the verdict. Several things may have happened at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    pub canceled: bool,
    /// The kernel killed a process of the sandbox for memory.
    pub out_of_memory: bool,
    /// This stream went past its limit; the first one, if both did.
    pub overflowed: Option<Stream>,
    /// It was killed because the wall time had run out.
    pub wall_ran_out: bool,
    /// It was killed because the CPU time had run out, or had used all of it when it ended.
    pub cpu_ran_out: bool,
    pub exit: Exit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub verdict: Verdict,
    /// The limit that ended it.
    pub limit: Option<LimitName>,
    /// One sentence for a person; `None` for [`Verdict::Ok`].
    pub error: Option<String>,
}

/// `subject` is who ran, for the sentence: `the program`.
pub(super) fn judge(subject: &str, evidence: &Evidence, limits: &Limits) -> Judgement {
    let limited = |verdict, limit, what: &str, unit: &str| {
        let error = format!("{subject} {what} {}{unit} ({})", limits.get(limit), limit.as_str());
        Judgement { verdict, limit: Some(limit), error: Some(error) }
    };
    let plain = |verdict, error| Judgement { verdict, limit: None, error };

    if evidence.canceled {
        return plain(Verdict::Canceled, Some(format!("{subject} was canceled")));
    }
    if evidence.out_of_memory {
        let what = "needed more memory than its limit of";
        return limited(Verdict::MemoryLimitExceeded, LimitName::MemoryBytes, what, " bytes");
    }
    if let Some(stream) = evidence.overflowed {
        let what = match stream {
            Stream::Stdout => "wrote more to stdout than its limit of",
            Stream::Stderr => "wrote more to stderr than its limit of",
        };
        return limited(Verdict::OutputLimitExceeded, LimitName::OutputBytes, what, " bytes");
    }
    if evidence.wall_ran_out {
        let what = "ran for longer than its limit of";
        return limited(Verdict::TimeLimitExceeded, LimitName::WallTimeMs, what, " ms");
    }
    if evidence.cpu_ran_out {
        let what = "used more CPU time than its limit of";
        return limited(Verdict::TimeLimitExceeded, LimitName::CpuTimeMs, what, " ms");
    }
    match evidence.exit {
        Exit::Code(0) => plain(Verdict::Ok, None),
        Exit::Code(code) => {
            plain(Verdict::RuntimeError, Some(format!("{subject} ended with exit code {code}")))
        }
        Exit::Signal(signal) => plain(Verdict::RuntimeError, Some(ended_by(subject, signal, limits))),
    }
}

/// Limits that the kernel answers with a signal of its own are named with their values, though the program could
/// have caught the signal and gone on: they end a program only when it lets them.
fn ended_by(subject: &str, signal: i32, limits: &Limits) -> String {
    let name = signal_name(signal);
    if name == "SIGXFSZ" {
        let limit = LimitName::FileSizeBytes;
        let value = limits.get(limit);
        return format!(
            "{subject} ended with {name}: a file met its limit of {value} bytes ({})",
            limit.as_str()
        );
    }
    match meaning(signal) {
        Some(meaning) => format!("{subject} ended with {name}: {meaning}"),
        None => format!("{subject} ended with {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LimitPolicy;

    impl Evidence {
        /// Nothing but this ending.
        fn of(exit: Exit) -> Self {
            Self {
                canceled: false,
                out_of_memory: false,
                overflowed: None,
                wall_ran_out: false,
                cpu_ran_out: false,
                exit,
            }
        }
    }

    fn judged(evidence: Evidence) -> Judgement {
        judge("the program", &evidence, &LimitPolicy::RUN.default)
    }

    /// Everything happened at once; then, row by row, what has won is taken away.
    #[test]
    fn the_first_row_that_applies_wins() {
        let mut evidence = Evidence {
            canceled: true,
            out_of_memory: true,
            overflowed: Some(Stream::Stderr),
            wall_ran_out: true,
            cpu_ran_out: true,
            exit: Exit::Signal(9),
        };
        type Change = fn(&mut Evidence);
        let rows: [(Verdict, Option<LimitName>, &str, Change); 7] = [
            (Verdict::Canceled, None, "the program was canceled", |e| e.canceled = false),
            (
                Verdict::MemoryLimitExceeded,
                Some(LimitName::MemoryBytes),
                "the program needed more memory than its limit of 268435456 bytes (memory_bytes)",
                |e| e.out_of_memory = false,
            ),
            (
                Verdict::OutputLimitExceeded,
                Some(LimitName::OutputBytes),
                "the program wrote more to stderr than its limit of 1048576 bytes (output_bytes)",
                |e| e.overflowed = None,
            ),
            (
                Verdict::TimeLimitExceeded,
                Some(LimitName::WallTimeMs),
                "the program ran for longer than its limit of 10000 ms (wall_time_ms)",
                |e| e.wall_ran_out = false,
            ),
            (
                Verdict::TimeLimitExceeded,
                Some(LimitName::CpuTimeMs),
                "the program used more CPU time than its limit of 10000 ms (cpu_time_ms)",
                |e| e.cpu_ran_out = false,
            ),
            (Verdict::RuntimeError, None, "the program ended with SIGKILL", |e| e.exit = Exit::Code(3)),
            (Verdict::RuntimeError, None, "the program ended with exit code 3", |e| e.exit = Exit::Code(0)),
        ];
        for (verdict, limit, error, next) in rows {
            let expected = Judgement { verdict, limit, error: Some(error.to_owned()) };
            assert_eq!(judged(evidence), expected);
            next(&mut evidence);
        }
        assert_eq!(judged(evidence), Judgement { verdict: Verdict::Ok, limit: None, error: None });
    }

    #[test]
    fn exit_code_zero_is_no_excuse() {
        let ok = Evidence::of(Exit::Code(0));
        for (evidence, verdict) in [
            (Evidence { canceled: true, ..ok }, Verdict::Canceled),
            (Evidence { out_of_memory: true, ..ok }, Verdict::MemoryLimitExceeded),
            (Evidence { overflowed: Some(Stream::Stdout), ..ok }, Verdict::OutputLimitExceeded),
            (Evidence { wall_ran_out: true, ..ok }, Verdict::TimeLimitExceeded),
            (Evidence { cpu_ran_out: true, ..ok }, Verdict::TimeLimitExceeded),
        ] {
            assert_eq!(judged(evidence).verdict, verdict);
        }
    }

    #[test]
    fn signals_are_explained() {
        let said = |signal| judged(Evidence::of(Exit::Signal(signal))).error.unwrap();
        assert_eq!(
            said(25),
            "the program ended with SIGXFSZ: a file met its limit of 67108864 bytes (file_size_bytes)"
        );
        assert!(said(11).starts_with("the program ended with SIGSEGV: it touched memory"));
        assert_eq!(said(9), "the program ended with SIGKILL");
        assert_eq!(said(99), "the program ended with signal 99");
        // A limit that the program could have survived did not end it.
        assert_eq!(judged(Evidence::of(Exit::Signal(25))).limit, None);
    }

    #[test]
    fn only_ok_has_no_error() {
        for code in [1, 2, 127, 255] {
            let judgement = judged(Evidence::of(Exit::Code(code)));
            assert_eq!(judgement.verdict, Verdict::RuntimeError);
            assert!(judgement.error.unwrap().ends_with(&format!("exit code {code}")));
        }
    }
}
