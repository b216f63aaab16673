//! What the kernel says about processes: CPU time and memory. Text of /proc in, numbers out.

use std::fs;

use anyhow::{Context, Result};

/// A process of the server under load, by the name it has in reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub name: String,
    pub pid: u32,
}

/// Since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    pub user_ns: u64,
    pub system_ns: u64,
}

impl CpuTime {
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
        }
    }

    pub fn total_ns(self) -> u64 {
        self.user_ns + self.system_ns
    }
}

impl Process {
    /// All threads, those that have ended included.
    pub fn cpu(&self) -> Result<CpuTime> {
        cpu_of(&format!("/proc/{}/stat", self.pid)).with_context(|| self.gone())
    }

    /// Proportional set size in bytes: a page that n processes share counts 1/n in each, so the sum over the processes of a
    /// server counts shared memory once.
    pub fn pss_bytes(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).with_context(|| self.gone())?;
        parse_pss(&text).context("smaps_rollup has no Pss line")
    }

    fn gone(&self) -> String {
        format!("cannot look at process {} ({}): it has ended, or belongs to another user", self.pid, self.name)
    }
}

/// Proportional set size of this process.
pub fn own_pss_bytes() -> Result<u64> {
    Process { name: "load".to_owned(), pid: std::process::id() }.pss_bytes()
}

/// Of this process.
pub fn own_cpu() -> Result<CpuTime> {
    cpu_of("/proc/self/stat")
}

fn cpu_of(path: &str) -> Result<CpuTime> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    parse_cpu(&text, rustix::param::clock_ticks_per_second()).with_context(|| format!("{path} is unreadable"))
}

/// utime and stime are the 14th and 15th fields (proc_pid_stat(5)); the second one, the name in parentheses, may hold anything.
fn parse_cpu(stat: &str, ticks_per_second: u64) -> Option<CpuTime> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let tick_ns = 1_000_000_000u64.checked_div(ticks_per_second)?;
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(CpuTime { user_ns: next()? * tick_ns, system_ns: next()? * tick_ns })
}

fn parse_pss(smaps_rollup: &str) -> Option<u64> {
    let line = smaps_rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a) b (c d) S 1 42 42 0 -1 4194304 500 0 0 0 250 75 0 0 20 0 3 0 100 1000 10";
        assert_eq!(parse_cpu(stat, 100), Some(CpuTime { user_ns: 2_500_000_000, system_ns: 750_000_000 }));
        assert_eq!(parse_cpu("42 (x", 100), None);
        assert_eq!(parse_cpu("42 (x) S 1", 100), None);
        assert_eq!(parse_cpu(stat, 0), None);
    }

    #[test]
    fn pss_is_read_in_bytes() {
        let text = "5581-7ffe ---p 00000000 00:00 0    [rollup]\nRss:    9000 kB\nPss:    1234 kB\nPss_Dirty:   3 kB\n";
        assert_eq!(parse_pss(text), Some(1_234 * 1_024));
        assert_eq!(parse_pss("Rss: 1 kB\n"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let own = Process { name: "own".to_owned(), pid: std::process::id() };
        assert!(own.pss_bytes().unwrap() > 100_000);
        let before = own.cpu().unwrap();
        let mut sum = 0u64;
        while own_cpu().unwrap().since(before).total_ns() == 0 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[test]
    fn a_process_that_has_ended_is_named() {
        let gone = Process { name: "engine".to_owned(), pid: u32::MAX };
        assert!(gone.cpu().unwrap_err().to_string().contains("engine"));
    }
}
