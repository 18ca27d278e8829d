//! From rules to BPF: a binary search over ranges of system call numbers.
//!
//! The kernel's cost of loading a filter grows with its length, and every sandbox loads one. So neighbours with the
//! same fate become one range, the search over range borders costs one instruction each, and all ways end in a few
//! shared returns: about a tenth of a comparison for each call.

use nix::libc::{
    self, BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, sock_filter,
};

use sandboxd_syscalls::{Action, Rule, Test};

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// Offsets in `struct seccomp_data`, seccomp(2).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `rules` is sorted by number, each number once. Numbers without a rule are unknown calls.
pub(super) fn compile(rules: &[(u32, Rule)]) -> Vec<sock_filter> {
    let ranges = ranges(rules);
    let mut code = Code::default();
    code.load(ARCHITECTURE);
    // Another architecture's calls (i386 on x86-64) have other numbers: nothing here would hold them.
    let native = code.label();
    let foreign = code.label();
    code.branch(BPF_JEQ, AUDIT_ARCH, native, foreign);
    code.place(foreign);
    code.ret(SECCOMP_RET_KILL_PROCESS);
    code.place(native);
    code.load(NUMBER);
    let returns = Returns::new(&mut code);
    let mut checks = Vec::new();
    code.search(&ranges, &returns, &mut checks);
    for (label, rule) in checks {
        code.place(label);
        code.check(rule, &returns);
    }
    code.finish(&returns)
}

/// Borders: from this number on, this rule holds. The first is 0; x32 numbers (bit 30) fall into the last.
fn ranges(rules: &[(u32, Rule)]) -> Vec<(u32, Rule)> {
    const UNKNOWN: Rule = Rule::Always(Action::Unknown);
    let mut ranges = vec![(0, UNKNOWN)];
    let mut push = |start: u32, rule: Rule| match ranges.last_mut() {
        Some(last) if last.0 == start => last.1 = rule,
        Some(last) if last.1 == rule && matches!(rule, Rule::Always(_)) => {}
        _ => ranges.push((start, rule)),
    };
    for (at, (number, rule)) in rules.iter().enumerate() {
        push(*number, *rule);
        if rules.get(at + 1).is_none_or(|(next, _)| *next != number + 1) {
            push(number + 1, UNKNOWN);
        }
    }
    ranges.dedup_by(|later, earlier| later.1 == earlier.1 && matches!(later.1, Rule::Always(_)));
    ranges
}

type Label = usize;

/// The shared ends of all ways.
struct Returns {
    allow: Label,
    refuse: Label,
    unknown: Label,
    no_family: Label,
}

impl Returns {
    fn new(code: &mut Code) -> Self {
        Self { allow: code.label(), refuse: code.label(), unknown: code.label(), no_family: code.label() }
    }

    fn label(&self, action: Action) -> Label {
        match action {
            Action::Allow => self.allow,
            Action::Refuse => self.refuse,
            Action::Unknown => self.unknown,
            Action::NoFamily => self.no_family,
        }
    }
}

enum Instruction {
    Plain(u32, u32),
    Branch { test: u32, value: u32, then: Label, otherwise: Label },
}

/// Instructions whose jumps name labels, until [`Code::finish`] turns those into distances.
#[derive(Default)]
struct Code {
    instructions: Vec<Instruction>,
    places: Vec<Option<usize>>,
}

impl Code {
    fn label(&mut self) -> Label {
        self.places.push(None);
        self.places.len() - 1
    }

    fn place(&mut self, label: Label) {
        self.places[label] = Some(self.instructions.len());
    }

    fn load(&mut self, offset: u32) {
        self.instructions.push(Instruction::Plain(BPF_LD | BPF_W | BPF_ABS, offset));
    }

    fn ret(&mut self, value: u32) {
        self.instructions.push(Instruction::Plain(BPF_RET | BPF_K, value));
    }

    fn branch(&mut self, test: u32, value: u32, then: Label, otherwise: Label) {
        self.instructions.push(Instruction::Branch { test: BPF_JMP | test | BPF_K, value, then, otherwise });
    }

    /// Emits the search over `ranges` (at least one) and leaves the argument checks it leads to in `checks`.
    fn search(&mut self, ranges: &[(u32, Rule)], returns: &Returns, checks: &mut Vec<(Label, Rule)>) {
        if ranges.len() < 2 {
            // The caller jumps straight to the target of a single range; only a policy with one rule gets here.
            return;
        }
        let (lower, upper) = ranges.split_at(ranges.len() / 2);
        let border = upper[0].0;
        let lower_label = self.target(lower, returns, checks);
        let upper_label = self.target(upper, returns, checks);
        self.branch(BPF_JGE, border, upper_label, lower_label);
        for (part, label) in [(lower, lower_label), (upper, upper_label)] {
            if part.len() > 1 {
                self.place(label);
                self.search(part, returns, checks);
            }
        }
    }

    /// Where a search over `ranges` begins: a new label, or for a single range the end that its rule leads to.
    fn target(
        &mut self,
        ranges: &[(u32, Rule)],
        returns: &Returns,
        checks: &mut Vec<(Label, Rule)>,
    ) -> Label {
        match ranges {
            [(_, Rule::Always(action))] => returns.label(*action),
            [(_, rule)] => {
                let label = self.label();
                checks.push((label, *rule));
                label
            }
            _ => self.label(),
        }
    }

    fn check(&mut self, rule: Rule, returns: &Returns) {
        let Rule::Argument { index, tests, otherwise } = rule else { return };
        // The low half, on little-endian machines: what the kernel itself looks at for these arguments.
        self.load(ARGUMENTS + 8 * u32::from(index));
        for (at, (test, action)) in tests.iter().enumerate() {
            let last = at + 1 == tests.len();
            let next = if last { returns.label(otherwise) } else { self.label() };
            match test {
                Test::Equals(value) => self.branch(BPF_JEQ, *value, returns.label(*action), next),
                Test::AnyBit(bits) => self.branch(BPF_JSET, *bits, returns.label(*action), next),
            }
            if !last {
                self.place(next);
            }
        }
    }

    #[allow(clippy::expect_used, reason = "the policy is fixed, and a test compiles it")]
    fn finish(mut self, returns: &Returns) -> Vec<sock_filter> {
        let errno = |errno: i32| SECCOMP_RET_ERRNO | errno as u32;
        for (label, value) in [
            (returns.allow, SECCOMP_RET_ALLOW),
            (returns.refuse, errno(libc::EPERM)),
            (returns.unknown, errno(libc::ENOSYS)),
            (returns.no_family, errno(libc::EAFNOSUPPORT)),
        ] {
            self.place(label);
            self.ret(value);
        }
        let places = self.places;
        // A distance beyond 255 can't be written; the tests show that the policy stays below, on every target.
        let distance = |from: usize, to: Label| {
            places[to]
                .and_then(|to| u8::try_from(to - from - 1).ok())
                .expect("a jump of at most 255 instructions")
        };
        let resolve = |(at, instruction): (usize, &Instruction)| match instruction {
            Instruction::Plain(code, k) => sock_filter { code: *code as u16, jt: 0, jf: 0, k: *k },
            Instruction::Branch { test, value, then, otherwise } => sock_filter {
                code: *test as u16,
                jt: distance(at, *then),
                jf: distance(at, *otherwise),
                k: *value,
            },
        };
        self.instructions.iter().enumerate().map(resolve).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::rules;

    /// Runs a filter as the kernel would, for one call.
    fn run(program: &[sock_filter], arch: u32, number: u32, arguments: [u32; 6]) -> u32 {
        let mut accumulator = 0;
        let mut at = 0;
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let code = u32::from(code);
            let jump = |yes: bool| usize::from(if yes { jt } else { jf });
            if code == BPF_LD | BPF_W | BPF_ABS {
                accumulator = match k {
                    NUMBER => number,
                    ARCHITECTURE => arch,
                    _ => arguments[((k - ARGUMENTS) / 8) as usize],
                };
            } else if code == BPF_RET | BPF_K {
                return k;
            } else if code == BPF_JMP | BPF_JEQ | BPF_K {
                at += jump(accumulator == k);
            } else if code == BPF_JMP | BPF_JGE | BPF_K {
                at += jump(accumulator >= k);
            } else if code == BPF_JMP | BPF_JSET | BPF_K {
                at += jump(accumulator & k != 0);
            } else {
                panic!("instruction {code:#x}");
            }
        }
    }

    fn expected(rule: Option<&Rule>, arguments: [u32; 6]) -> u32 {
        let action = match rule {
            None => Action::Unknown,
            Some(Rule::Always(action)) => *action,
            Some(Rule::Argument { index, tests, otherwise }) => {
                let value = arguments[usize::from(*index)];
                let met = tests.iter().find(|(test, _)| match test {
                    Test::Equals(other) => value == *other,
                    Test::AnyBit(bits) => value & bits != 0,
                });
                met.map_or(*otherwise, |(_, action)| *action)
            }
        };
        match action {
            Action::Allow => SECCOMP_RET_ALLOW,
            Action::Refuse => SECCOMP_RET_ERRNO | libc::EPERM as u32,
            Action::Unknown => SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
            Action::NoFamily => SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32,
        }
    }

    #[test]
    fn the_program_does_what_the_table_says() {
        let rules = rules();
        let program = compile(&rules);
        let numbers = (0..700).chain([0x4000_0000, 0x4000_0000 + 59, u32::MAX]);
        for number in numbers {
            let rule = rules.iter().find(|(other, _)| *other == number).map(|(_, rule)| rule);
            for argument in
                [0, 1, 2, 8, 10, 16, 17, 0x0002_0000, 0x1000_0000, 0x5412, 0x541c, 0x0120_0011, u32::MAX]
            {
                let arguments = [argument; 6];
                let got = run(&program, AUDIT_ARCH, number, arguments);
                assert_eq!(got, expected(rule, arguments), "call {number}, argument {argument:#x}");
            }
        }
    }

    #[test]
    fn another_architecture_is_killed() {
        let program = compile(&rules());
        assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]), SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn the_program_is_short() {
        let length = compile(&rules()).len();
        assert!(length < 160, "{length} instructions; each costs every sandbox about half a microsecond");
    }
}
