//! The default seccomp filter as a program of the kernel's (classic BPF, seccomp(2)).
//!
//! An OCI runtime makes one from the profile with libseccomp at every start: 14 of the 25 ms of CPU that crun takes for a
//! container, as measured. crun takes a ready one in the annotation `run.oci.seccomp_bpf_data`, keeps it for exec, and
//! then ignores `linux.seccomp`; a runtime that does not know the annotation uses that, which stays in `config.json` and
//! says the same. Only our own default is compiled here: profiles of others may say what this does not know.
//!
//! Where the two could differ, this one is stricter or more exact: a machine word is compared as the `int` that the
//! system call takes (libseccomp looks at 64 bits, so high garbage bits would go around `AF_VSOCK`), x32 calls are
//! ENOSYS as in kernels without x32, and system calls younger than the libseccomp of the machine are known.

use std::collections::BTreeMap;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompOperator, LinuxSyscall};

/// Longest program the kernel takes.
const LONGEST: usize = 4096;

// linux/bpf_common.h, linux/filter.h
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const SKIP: u16 = 0x05; // BPF_JMP | BPF_JA
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// linux/seccomp.h: struct seccomp_data { int nr; u32 arch; u64 instruction_pointer; u64 args[6]; }
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

// linux/audit.h
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_I386: u32 = 0x4000_0003;
/// From here on the numbers are those of x32.
const X32: u32 = 0x4000_0000;

/// System calls whose inspected arguments are `int` or `unsigned int`: the kernel drops the high half.
const TAKES_INTS: [&str; 2] = ["socket", "personality"];

/// `struct sock_filter`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Op {
    code: u16,
    yes: u8,
    no: u8,
    k: u32,
}

fn op(code: u16, k: u32) -> Op {
    Op { code, yes: 0, no: 0, k }
}

type Program = Vec<Op>;

/// What happens to one system call: the first test that holds decides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    tests: Vec<(Vec<Test>, u32)>,
    otherwise: u32,
}

/// Whether the low half of an argument is, or is not, a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Test {
    argument: u32,
    value: u32,
    equal: bool,
}

/// The program of `filter` in the bytes of the kernel's `struct sock_filter`; `None` when it cannot be said exactly for
/// `machine` (as Go names it), and the runtime's way is to be used.
pub(super) fn compile(filter: &LinuxSeccomp, machine: &str) -> Option<Vec<u8>> {
    // Elsewhere nobody has checked it against libseccomp.
    if machine != "amd64" || filter.architectures().as_deref() != Some(&[Arch::ScmpArchX86_64, Arch::ScmpArchX86]) {
        return None;
    }
    let default = action(filter.default_action(), filter.default_errno_ret())?;
    let rules = filter.syscalls().as_deref().unwrap_or_default();
    let native = dispatch(rules, default, |name| {
        name.parse::<syscalls::x86_64::Sysno>().ok().and_then(|nr| nr.id().try_into().ok())
    })?;
    let older = dispatch(rules, default, |name| {
        name.parse::<syscalls::x86::Sysno>().ok().and_then(|nr| nr.id().try_into().ok())
    })?;
    let native = branch(AT_LEAST, X32, vec![op(RETURN, default)], native);
    let mut program = vec![op(LOAD, ARCH)];
    program.extend(branch(
        EQUAL,
        AUDIT_X86_64,
        with_number(native),
        branch(EQUAL, AUDIT_I386, with_number(older), vec![op(RETURN, RET_KILL_PROCESS)]),
    ));
    if program.len() > LONGEST {
        return None;
    }
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for op in program {
        bytes.extend(op.code.to_ne_bytes());
        bytes.extend([op.yes, op.no]);
        bytes.extend(op.k.to_ne_bytes());
    }
    Some(bytes)
}

fn with_number(mut program: Program) -> Program {
    program.insert(0, op(LOAD, NUMBER));
    program
}

/// `None` for actions that need more than a value.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Option<u32> {
    match action {
        LinuxSeccompAction::ScmpActAllow => Some(RET_ALLOW),
        LinuxSeccompAction::ScmpActErrno => Some(RET_ERRNO | errno.filter(|errno| *errno < 4096)?),
        _ => None,
    }
}

/// If the accumulator compares to `k` as `code` says, `then`, else `otherwise`. Both end in a return.
fn branch(code: u16, k: u32, then: Program, otherwise: Program) -> Program {
    let mut program = match u8::try_from(otherwise.len()) {
        Ok(length) => vec![Op { code, yes: length, no: 0, k }],
        // A conditional jump reaches 255 instructions; an unconditional one any distance.
        Err(_) => vec![Op { code, yes: 0, no: 1, k }, op(SKIP, u32::try_from(otherwise.len()).unwrap_or(u32::MAX))],
    };
    program.extend(otherwise);
    program.extend(then);
    program
}

/// The program for one table of system calls, with the number in the accumulator.
fn dispatch(rules: &[LinuxSyscall], default: u32, number: impl Fn(&str) -> Option<u32>) -> Option<Program> {
    let mut verdicts: BTreeMap<u32, Verdict> = BTreeMap::new();
    let mut decided = std::collections::BTreeSet::new();
    for rule in rules {
        let result = action(rule.action(), rule.errno_ret())?;
        for name in rule.names() {
            // A name that this table does not have is another machine's.
            let Some(nr) = number(name) else { continue };
            let tests = tests(rule, name)?;
            let verdict = verdicts.entry(nr).or_insert(Verdict { tests: Vec::new(), otherwise: default });
            if tests.is_empty() {
                // Two rules without tests for one call: which of them counts is not for us to say.
                if !decided.insert(nr) {
                    return None;
                }
                verdict.otherwise = result;
            } else {
                verdict.tests.push((tests, result));
            }
        }
    }
    // A test after the rule without one, or before: runtimes differ.
    if verdicts.iter().any(|(nr, verdict)| decided.contains(nr) && !verdict.tests.is_empty()) {
        return None;
    }
    Some(search(&ranges(&verdicts, default)))
}

fn tests(rule: &LinuxSyscall, name: &str) -> Option<Vec<Test>> {
    rule.args()
        .iter()
        .flatten()
        .map(|arg| {
            let equal = match arg.op() {
                LinuxSeccompOperator::ScmpCmpEq => true,
                LinuxSeccompOperator::ScmpCmpNe => false,
                _ => return None,
            };
            let (value, index) = (u32::try_from(arg.value()).ok()?, u32::try_from(arg.index()).ok()?);
            TAKES_INTS.contains(&name).then_some(Test { argument: index, value, equal })
        })
        .collect()
}

/// Where verdicts begin; each holds up to the next one.
fn ranges(verdicts: &BTreeMap<u32, Verdict>, default: u32) -> Vec<(u32, Verdict)> {
    let default = Verdict { tests: Vec::new(), otherwise: default };
    let mut ranges = vec![(0, default.clone())];
    let mut push = |from: u32, verdict: &Verdict| match ranges.last_mut() {
        Some((_, last)) if last == verdict => {}
        Some((start, last)) if *start == from => *last = verdict.clone(),
        _ => ranges.push((from, verdict.clone())),
    };
    for (nr, verdict) in verdicts {
        push(*nr, verdict);
        if !verdicts.contains_key(&(nr + 1)) {
            push(nr + 1, &default);
        }
    }
    ranges
}

/// Binary search over the ranges.
fn search(ranges: &[(u32, Verdict)]) -> Program {
    match ranges {
        [] => Program::new(),
        [(_, verdict)] => verdict.program(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            branch(AT_LEAST, high[0].0, search(high), search(low))
        }
    }
}

impl Verdict {
    fn program(&self) -> Program {
        let mut program = vec![op(RETURN, self.otherwise)];
        for (tests, result) in self.tests.iter().rev() {
            let mut passed = vec![op(RETURN, *result)];
            for test in tests.iter().rev() {
                let mut one = vec![op(LOAD, ARGS + 8 * test.argument + u32::from(cfg!(target_endian = "big")) * 4)];
                one.extend(if test.equal {
                    branch(EQUAL, test.value, passed, program.clone())
                } else {
                    branch(EQUAL, test.value, program.clone(), passed)
                });
                passed = one;
            }
            program = passed;
        }
        program
    }
}

#[cfg(test)]
mod tests {
    use super::{super::seccomp, *};

    /// The kernel's part of it.
    fn run(program: &[u8], arch: u32, nr: u32, args: [u64; 3]) -> u32 {
        let mut data = Vec::new();
        data.extend(nr.to_ne_bytes());
        data.extend(arch.to_ne_bytes());
        data.extend([0; 8]);
        args.iter().for_each(|arg| data.extend(arg.to_ne_bytes()));
        data.extend([0; 24]);
        let word = |at: usize| u32::from_ne_bytes(data[at..at + 4].try_into().expect("a word"));
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let op = &program[at * 8..at * 8 + 8];
            let k = u32::from_ne_bytes(op[4..8].try_into().expect("a word"));
            at += 1;
            match u16::from_ne_bytes([op[0], op[1]]) {
                LOAD => accumulator = word(k as usize),
                EQUAL => at += usize::from(if accumulator == k { op[2] } else { op[3] }),
                AT_LEAST => at += usize::from(if accumulator >= k { op[2] } else { op[3] }),
                SKIP => at += k as usize,
                RETURN => return k,
                other => panic!("{other}"),
            }
        }
    }

    fn default(caps: &[&str]) -> (LinuxSeccomp, Vec<u8>) {
        let bounding = caps.iter().map(|cap| (*cap).to_owned()).collect();
        let context = seccomp::Context { bounding: &bounding, machine: "amd64", kernel: (6, 1) };
        let filter = seccomp::filter("", &context).expect("readable").expect("a filter");
        let program = compile(&filter, "amd64").expect("compiles");
        (filter, program)
    }

    const ENOSYS: u32 = RET_ERRNO | 38;
    const EPERM: u32 = RET_ERRNO | 1;

    #[test]
    fn every_number_gets_what_the_profile_says() {
        for caps in
            [&[][..], &["CAP_SYS_CHROOT"], &["CAP_SYS_ADMIN", "CAP_AUDIT_WRITE"], &["CAP_BPF", "CAP_SYS_PTRACE"]]
        {
            let (filter, program) = default(caps);
            let rules = filter.syscalls().as_deref().expect("rules");
            let expected = |name: Option<&str>| {
                let has = |rule: &&LinuxSyscall| rule.names().iter().any(|had| Some(had.as_str()) == name);
                let rule = rules.iter().find(has);
                rule.map_or(ENOSYS, |rule| action(rule.action(), rule.errno_ret()).expect("plain"))
            };
            for nr in 0..1000 {
                let native = syscalls::x86_64::Sysno::new(nr as usize).map(|call| call.name());
                let older = syscalls::x86::Sysno::new(nr as usize).map(|call| call.name());
                for (arch, name) in [(AUDIT_X86_64, native), (AUDIT_I386, older)] {
                    if !name.is_some_and(|name| TAKES_INTS.contains(&name)) {
                        assert_eq!(run(&program, arch, nr, [0; 3]), expected(name), "{nr} {name:?} {caps:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn arguments_decide_where_they_are_looked_at() {
        const SOCKET: u32 = 41;
        let (_, program) = default(&[]);
        let socket = |domain: u64, protocol: u64| run(&program, AUDIT_X86_64, SOCKET, [domain, 1, protocol]);
        for domain in [1, 2, 10, 17, 45] {
            assert_eq!(socket(domain, 9), RET_ALLOW, "{domain}");
        }
        assert_eq!(
            (socket(40, 0), socket(38, 0), socket(16, 9), socket(16, 0)),
            (EPERM, EPERM, RET_ERRNO | 22, RET_ALLOW)
        );
        assert_eq!(socket(1 << 32 | 40, 0), EPERM, "the kernel takes an int");
        let (_, audit) = default(&["CAP_AUDIT_WRITE"]);
        assert_eq!(run(&audit, AUDIT_X86_64, SOCKET, [16, 3, 9]), RET_ALLOW);
        assert_eq!(run(&audit, AUDIT_X86_64, SOCKET, [40, 1, 0]), EPERM);
        let personality = |arch, nr, value: u64| run(&program, arch, nr, [value, 0, 0]);
        for value in [0, 8, 0x20000, 0x20008, 0xffff_ffff] {
            assert_eq!(
                (personality(AUDIT_X86_64, 135, value), personality(AUDIT_I386, 136, value)),
                (RET_ALLOW, RET_ALLOW)
            );
        }
        assert_eq!(personality(AUDIT_X86_64, 135, 0x40000), ENOSYS);
    }

    #[test]
    fn other_machines_and_x32_get_nothing() {
        let (filter, program) = default(&[]);
        assert_eq!(run(&program, AUDIT_X86_64, X32, [0; 3]), ENOSYS);
        assert_eq!(run(&program, AUDIT_X86_64, u32::MAX, [0; 3]), ENOSYS);
        assert_eq!(run(&program, 0xc000_00b7, 0, [0; 3]), RET_KILL_PROCESS);
        assert!(compile(&filter, "arm64").is_none());
        assert!(program.len() < 8 * LONGEST);
    }

    #[test]
    fn what_cannot_be_said_exactly_is_left_to_the_runtime() {
        let bounding = std::collections::BTreeSet::new();
        let context = seccomp::Context { bounding: &bounding, machine: "amd64", kernel: (6, 1) };
        for rules in [
            r#"{"names":["read"],"action":"SCMP_ACT_TRAP"}"#,
            r#"{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":1}"#,
            r#"{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}"#,
            r#"{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_GT"}]}"#,
            r#"{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
               {"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":1}"#,
        ] {
            let text = format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[{rules}]}}"#
            );
            let filter = seccomp::filter(&text, &context).expect("readable").expect("a filter");
            assert_eq!(compile(&filter, "amd64"), None, "{rules}");
        }
    }
}
