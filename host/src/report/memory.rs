/// The most memory this process has had in use so far, in bytes: its peak resident set, libraries
/// and all. `None` where the system does not say (it does on Linux).
pub fn peak_memory_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        parse_peak(&status)
    }
    #[cfg(not(target_os = "linux"))]
    {
        None
    }
}

/// `VmHWM:     12345 kB`, where kB are 1024 bytes.
#[cfg(target_os = "linux")]
fn parse_peak(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read() {
        let status = "VmPeak:\t  999 kB\nVmHWM:\t  123456 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(parse_peak(status), Some(126_418_944));
        assert_eq!(parse_peak("Name:\tx\n"), None);
    }

    #[test]
    fn the_peak_rises_with_what_is_used() {
        let before = peak_memory_bytes().unwrap();
        let mut block = vec![0u8; 64 << 20];
        // Memory counts once it is touched.
        for page in block.chunks_mut(4096) {
            page[0] = 1;
        }
        std::hint::black_box(&block);
        let resident = before.max(64 << 20);
        assert!(peak_memory_bytes().unwrap() >= resident);
    }
}
