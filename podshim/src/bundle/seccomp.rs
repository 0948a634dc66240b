//! The seccomp filter: the profile format of podman and docker, resolved to that of the runtime specification.
//!
//! `seccomp.json` is our default. It follows the default profile of podman (containers/common): what is neither allowed
//! nor known is ENOSYS, so that programs built for newer kernels fall back; what is known and refused is EPERM.

use nix::errno::Errno;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use proto::{Kind, Refusal, refusal::Result};
use serde::{Deserialize, Deserializer};

use super::capabilities::Names;

const DEFAULT: &str = include_str!("seccomp.json");
/// Largest profile that is read, in bytes.
const LARGEST: usize = 1 << 20;

/// A list that may also be `null`, as Go writes an empty one.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    architectures: Vec<Arch>,
    #[serde(default, deserialize_with = "nullable")]
    arch_map: Vec<ArchMap>,
    #[serde(default, deserialize_with = "nullable")]
    flags: Vec<LinuxSeccompFilterFlag>,
    #[serde(default, deserialize_with = "nullable")]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: Arch,
    #[serde(default, deserialize_with = "nullable")]
    sub_architectures: Vec<Arch>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    errno: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    args: Vec<Argument>,
    #[serde(default, deserialize_with = "nullable")]
    includes: Filter,
    #[serde(default, deserialize_with = "nullable")]
    excludes: Filter,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: usize,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: LinuxSeccompOperator,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default, deserialize_with = "nullable")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    arches: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    min_kernel: String,
}

/// What rules may depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// The container's bounding set.
    pub bounding: &'a Names,
    /// The machine as Go names it: amd64, arm64 …
    pub machine: &'a str,
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
}

/// The name Go has for the machine this program was built for; profiles use it.
pub(super) fn machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "mips64" if cfg!(target_endian = "little") => "mips64le",
        other => other,
    }
}

/// Major and minor version of the running kernel; 0.0 where it cannot be told.
pub(super) fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    version(&release).unwrap_or((0, 0))
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The filter of `option`: "" = the default, `unconfined` = none, else the JSON text of a profile.
///
/// # Errors
/// podman's words for a profile that cannot be read.
pub(super) fn filter(option: &str, context: &Context<'_>) -> Result<Option<LinuxSeccomp>> {
    if option == "unconfined" {
        return Ok(None);
    }
    let text = if option.is_empty() { DEFAULT } else { option };
    let refuse = |why: String| {
        Refusal::invalid(format!("--security-opt seccomp: loading seccomp profile failed: {}", why.escape_debug()))
    };
    if text.len() > LARGEST {
        return Err(refuse(format!("it is larger than {LARGEST} bytes")));
    }
    let profile: Profile =
        serde_json::from_str(text).map_err(|error| refuse(format!("decoding seccomp profile failed: {error}")))?;
    if profile.default_action == LinuxSeccompAction::ScmpActNotify
        || profile.syscalls.iter().any(|rule| rule.action == LinuxSeccompAction::ScmpActNotify)
    {
        return Err(Refusal::new(
            Kind::NotSupported,
            "--security-opt seccomp: SCMP_ACT_NOTIFY needs an agent, which podctl does not start: use another action",
        ));
    }
    resolve(&profile, context).map(Some).map_err(refuse)
}

fn resolve(profile: &Profile, context: &Context<'_>) -> std::result::Result<LinuxSeccomp, String> {
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err("architectures and archMap were specified in the seccomp profile, use either".to_owned());
    }
    let mut architectures = profile.architectures.clone();
    if let Some(map) = profile.arch_map.iter().find(|map| go_name(map.architecture) == context.machine) {
        architectures.push(map.architecture);
        architectures.extend(&map.sub_architectures);
    }
    let rules: std::result::Result<Vec<_>, String> =
        profile.syscalls.iter().filter(|rule| rule.applies(context)).map(Rule::to_oci).collect();
    let mut filter = LinuxSeccompBuilder::default().default_action(profile.default_action).syscalls(rules?);
    if !architectures.is_empty() {
        filter = filter.architectures(architectures);
    }
    if !profile.flags.is_empty() {
        filter = filter.flags(profile.flags.clone());
    }
    if let Some(errno) = errno(profile.default_errno.as_deref(), profile.default_errno_ret)? {
        filter = filter.default_errno_ret(errno);
    }
    filter.build().map_err(|error| error.to_string())
}

impl Rule {
    fn applies(&self, context: &Context<'_>) -> bool {
        let has = |cap: &String| context.bounding.contains(cap);
        let here = |arch: &String| arch == context.machine;
        let old_enough = |wanted: &String| version(wanted).is_none_or(|wanted| wanted <= context.kernel);
        let (includes, excludes) = (&self.includes, &self.excludes);
        includes.caps.iter().all(has)
            && (includes.arches.is_empty() || includes.arches.iter().any(here))
            && (includes.min_kernel.is_empty() || old_enough(&includes.min_kernel))
            && !excludes.caps.iter().any(has)
            && !excludes.arches.iter().any(here)
            && (excludes.min_kernel.is_empty() || !old_enough(&excludes.min_kernel))
    }

    fn to_oci(&self) -> std::result::Result<LinuxSyscall, String> {
        let names = if self.names.is_empty() { vec![self.name.clone()] } else { self.names.clone() };
        if names.iter().any(|name| name.is_empty() || name.len() > 64) {
            return Err("a rule without the name of a system call".to_owned());
        }
        let mut rule = LinuxSyscallBuilder::default().names(names).action(self.action);
        if let Some(errno) = errno(self.errno.as_deref(), self.errno_ret)? {
            rule = rule.errno_ret(errno);
        }
        if !self.args.is_empty() {
            let args: std::result::Result<Vec<_>, _> = self.args.iter().map(Argument::to_oci).collect();
            rule = rule.args(args?);
        }
        rule.build().map_err(|error| error.to_string())
    }
}

impl Argument {
    fn to_oci(&self) -> std::result::Result<LinuxSeccompArg, String> {
        if self.index > 5 {
            return Err(format!("a system call has no argument {}", self.index));
        }
        let arg = LinuxSeccompArgBuilder::default().index(self.index).value(self.value).op(self.op);
        let arg = if self.value_two == 0 { arg } else { arg.value_two(self.value_two) };
        arg.build().map_err(|error| error.to_string())
    }
}

/// The number of an error given by name or number; the name counts, as with podman.
fn errno(name: Option<&str>, number: Option<u32>) -> std::result::Result<Option<u32>, String> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(number) };
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    (1..134)
        .find(|raw| format!("{:?}", Errno::from_raw(*raw)) == name)
        .map(|raw| Some(raw.unsigned_abs()))
        .ok_or_else(|| format!("unknown errno {name}"))
}

/// The machine whose native architecture `arch` is.
fn go_name(arch: Arch) -> &'static str {
    match arch {
        Arch::ScmpArchX86_64 => "amd64",
        Arch::ScmpArchX86 => "386",
        Arch::ScmpArchAarch64 => "arm64",
        Arch::ScmpArchArm => "arm",
        Arch::ScmpArchMips64 => "mips64",
        Arch::ScmpArchMipsel64 => "mips64le",
        Arch::ScmpArchPpc64 => "ppc64",
        Arch::ScmpArchPpc64le => "ppc64le",
        Arch::ScmpArchS390x => "s390x",
        Arch::ScmpArchRiscv64 => "riscv64",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(option: &str, caps: &[&str]) -> LinuxSeccomp {
        let bounding = caps.iter().map(|cap| (*cap).to_owned()).collect();
        let context = Context { bounding: &bounding, machine: "amd64", kernel: (6, 1) };
        filter(option, &context).expect("readable").expect("a filter")
    }

    fn action(filter: &LinuxSeccomp, name: &str) -> Vec<(LinuxSeccompAction, Option<u32>)> {
        let rules = filter.syscalls().as_ref().expect("rules");
        let rules = rules.iter().filter(|rule| rule.names().iter().any(|had| had == name));
        rules.map(|rule| (rule.action(), rule.errno_ret())).collect()
    }

    #[test]
    fn the_default_depends_on_capabilities_and_machine() {
        use LinuxSeccompAction::{ScmpActAllow, ScmpActErrno};
        let plain = resolved("", &["CAP_SYS_CHROOT"]);
        assert_eq!((plain.default_action(), plain.default_errno_ret()), (ScmpActErrno, Some(38)));
        assert_eq!(plain.architectures().as_deref(), Some(&[Arch::ScmpArchX86_64, Arch::ScmpArchX86][..]));
        assert_eq!(action(&plain, "openat2"), [(ScmpActAllow, None)]);
        assert_eq!(action(&plain, "chroot"), [(ScmpActAllow, None)]);
        assert_eq!(action(&plain, "arch_prctl"), [(ScmpActAllow, None)]);
        assert_eq!(action(&plain, "kexec_load"), [(ScmpActErrno, Some(1))]);
        for refused in ["setns", "bpf", "perf_event_open", "acct", "init_module", "open_by_handle_at", "iopl"] {
            assert_eq!(action(&plain, refused), [(ScmpActErrno, Some(1))], "{refused}");
        }
        for unknown in ["io_uring_setup", "cacheflush", "riscv_flush_icache", "brand_new_call"] {
            assert!(action(&plain, unknown).is_empty(), "{unknown}");
        }
        let more = resolved("", &["CAP_SYS_ADMIN", "CAP_BPF", "CAP_AUDIT_WRITE"]);
        for allowed in ["setns", "bpf", "perf_event_open", "sethostname"] {
            assert_eq!(action(&more, allowed), [(ScmpActAllow, None)], "{allowed}");
        }
        assert_eq!(action(&resolved("", &["CAP_BPF"]), "bpf"), [(ScmpActAllow, None)]);
    }

    #[test]
    fn profiles_of_others_are_understood() {
        let text = r#"{"defaultAction":"SCMP_ACT_KILL","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
            {"name":"read","action":"SCMP_ACT_ALLOW","args":null},
            {"names":["write"],"action":"SCMP_ACT_ERRNO","errno":"ENOENT","includes":{"minKernel":"4.8"}},
            {"names":["new"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.2"},"excludes":null},
            {"names":["old"],"action":"SCMP_ACT_ALLOW","excludes":{"arches":["amd64"]}}]}"#;
        let got = resolved(text, &[]);
        assert_eq!(action(&got, "read"), [(LinuxSeccompAction::ScmpActAllow, None)]);
        assert_eq!(action(&got, "write"), [(LinuxSeccompAction::ScmpActErrno, Some(2))]);
        assert!(action(&got, "new").is_empty() && action(&got, "old").is_empty());
    }

    #[test]
    fn bad_profiles_are_refused_in_one_line() {
        let bounding = Names::new();
        let context = Context { bounding: &bounding, machine: "amd64", kernel: (6, 1) };
        for text in [
            "{",
            "\n",
            "[]",
            r#"{"defaultAction":"SCMP_ACT_X"}"#,
            r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#,
            r#"{"defaultAction":"SCMP_ACT_KILL","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EBOGUS"}"#,
            r#"{"defaultAction":"SCMP_ACT_KILL","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
        ] {
            let refusal = filter(text, &context).expect_err(text);
            assert!(refusal.message.starts_with("--security-opt seccomp: ") && !refusal.message.contains('\n'));
        }
        assert!(filter("unconfined", &context).expect("none").is_none());
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("6.18.44-fc\n"), Some((6, 18)));
        assert_eq!(version("x"), None);
    }
}
