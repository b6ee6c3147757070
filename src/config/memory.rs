//! How much memory this process may use: that of the machine, or of the tightest cgroup around it.

use std::fs;
use std::path::Path;

/// In bytes; `None` where the system does not say.
#[must_use]
pub(super) fn available() -> Option<u64> {
    available_below(Path::new("/"))
}

fn available_below(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").as_deref().and_then(total);
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(group).flat_map(|(base, group, file)| {
        // a limit may be set on any group above, and in a container the group seen from outside is not there at all
        Path::new(group)
            .ancestors()
            .map(|g| root.join(base).join(g.strip_prefix("/").unwrap_or(g)).join(file))
            .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
            .collect::<Vec<u64>>()
    });
    limits.chain(machine).min()
}

/// Of a line of `/proc/self/cgroup`: where the hierarchy is, the group in it, and the file with the limit.
fn group(line: &str) -> Option<(&'static str, &str, &'static str)> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, group) = (fields.next()?, fields.next()?);
    if controllers.is_empty() {
        Some(("sys/fs/cgroup", group, "memory.max"))
    } else if controllers.split(',').any(|c| c == "memory") {
        Some(("sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
    } else {
        None
    }
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: Option<u64>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(available_below(root.path()), expected, "{files:?}");
    }

    #[test]
    fn the_tightest_limit_counts() {
        let machine = ("proc/meminfo", "MemFree:  1 kB\nMemTotal:       2000 kB\n");
        check(&[], None);
        check(&[machine], Some(2_048_000));
        let v2 = ("proc/self/cgroup", "0::/a/b\n");
        check(&[machine, v2, ("sys/fs/cgroup/a/b/memory.max", "max\n")], Some(2_048_000));
        check(&[machine, v2, ("sys/fs/cgroup/a/b/memory.max", "4096\n")], Some(4096));
        check(
            &[machine, v2, ("sys/fs/cgroup/a/memory.max", "5\n"), ("sys/fs/cgroup/a/b/memory.max", "6\n")],
            Some(5),
        );
        check(&[machine, v2, ("sys/fs/cgroup/memory.max", "7\n")], Some(7));
        let v1 = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x\n");
        check(&[machine, v1, ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "8\n")], Some(8));
        check(
            &[machine, v1, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")],
            Some(2_048_000),
        );
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(!cfg!(target_os = "linux") || available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
