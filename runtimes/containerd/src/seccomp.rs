//! The system call filter of a container, from the table of `sandboxd-syscalls`; containerd installs none of its own. Under
//! gVisor it is ignored: there the guest's kernel is another, with a filter of its own.
//!
//! What the OCI's rules can't say is left out: they compare whole registers, so two commands of ioctl can't be told from the
//! rest by their low half. Both want a terminal, and there is none here.

use nix::libc::{EAFNOSUPPORT, ENOSYS, EPERM};
use oci_spec::{
    OciSpecError,
    runtime::{
        Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
        LinuxSeccompOperator as Operator, LinuxSyscall,
    },
};
use sandboxd_syscalls::{Action, Call, FAMILIES, NAMESPACE_FLAGS, PERSONALITIES, Rule, calls};

const SOCKETS: &[&str] = &["socket", "socketpair"];

/// The calls that this is done with, whatever their arguments.
fn always(action: Action) -> Vec<&'static str> {
    calls().filter(|call| call.rule == Rule::Always(action)).map(Call::name).collect()
}

pub(crate) fn profile() -> Result<LinuxSeccomp, OciSpecError> {
    let mut rules = vec![
        allow(&always(Action::Allow), None),
        allow(&["ioctl"], None),
        refuse(&always(Action::Refuse), EPERM, None),
    ];
    // New namespaces give a program capabilities over kernel code that it has no business with. clone3 hides its flags
    // behind a pointer and is not named: ENOSYS makes every libc fall back to clone.
    let no_namespace =
        argument(0, Operator::ScmpCmpMaskedEq, NAMESPACE_FLAGS.into()).value_two(0_u64).build()?;
    rules.push(allow(&["clone"], Some(no_namespace)));
    for value in PERSONALITIES {
        rules.push(allow(&["personality"], Some(argument(0, Operator::ScmpCmpEq, value.into()).build()?)));
    }
    // Every other family is refused as by a kernel that lacks it.
    let last = FAMILIES.into_iter().max().unwrap_or_default();
    for family in 0..=last {
        let test = Some(argument(0, Operator::ScmpCmpEq, family.into()).build()?);
        rules.push(if FAMILIES.contains(&family) {
            allow(SOCKETS, test)
        } else {
            refuse(SOCKETS, EAFNOSUPPORT, test)
        });
    }
    let beyond = argument(0, Operator::ScmpCmpGt, last.into()).build()?;
    rules.push(refuse(SOCKETS, EAFNOSUPPORT, Some(beyond)));

    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(ENOSYS.unsigned_abs()))
        .set_architectures(Some(architectures()))
        .set_syscalls(Some(rules));
    Ok(profile)
}

/// This machine's own and no 32 bit one: their calls have other numbers and less scrutiny.
fn architectures() -> Vec<Arch> {
    if cfg!(target_arch = "aarch64") { vec![Arch::ScmpArchAarch64] } else { vec![Arch::ScmpArchX86_64] }
}

fn allow(names: &[&str], argument: Option<LinuxSeccompArg>) -> LinuxSyscall {
    rule(names, LinuxSeccompAction::ScmpActAllow, argument)
}

fn refuse(names: &[&str], errno: i32, argument: Option<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = rule(names, LinuxSeccompAction::ScmpActErrno, argument);
    rule.set_errno_ret(Some(errno.unsigned_abs()));
    rule
}

fn rule(names: &[&str], action: LinuxSeccompAction, argument: Option<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|name| (*name).to_owned()).collect())
        .set_action(action)
        .set_args(argument.map(|argument| vec![argument]));
    rule
}

fn argument(index: usize, op: Operator, value: u64) -> LinuxSeccompArgBuilder {
    LinuxSeccompArgBuilder::default().index(index).op(op).value(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_table_is_in_it_and_no_other() {
        let profile = profile().unwrap();
        let mut named: Vec<_> =
            profile.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect();
        named.sort();
        named.dedup();
        // What is unknown is answered by the default.
        let table = calls().filter(|call| call.rule != Rule::Always(Action::Unknown));
        let mut expected: Vec<_> = table.map(|call| call.name().to_owned()).collect();
        expected.sort();
        assert_eq!(named, expected);
    }
}
