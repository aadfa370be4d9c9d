//! A disk of a node on a small file system of its own, which can be made to fail: full, without power, read-only,
//! broken, slow.
//!
//! The file system (ext4) lies in an image file. A loop device carries the image: directly, or through `nbdkit`, whose
//! filters fail and delay what reaches it.
//!
//! Owns: the image, the loop device, the mount, the faults. Not: which node's disk it is (the test).
//! Holds: (1) mount, device and helper process end with the value, also when the test fails and while a process still
//! uses them (it then loses its files); (2) what a killed test left behind is removed by the next one.
//! Why a symbolic link in the disk's place: the cluster's directory can be removed while the disk is still mounted.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Once,
    thread,
    time::{Duration, Instant},
};

use rustix::ioctl::{Opcode, Setter, ioctl};
use tempfile::TempDir;

use crate::tools::{self, attempt, must, text};

/// `EXT4_IOC_SHUTDOWN`, from the kernel's `ext4.h`: `_IOR('X', 125, __u32)`; XFS has the same.
const SHUTDOWN: Opcode = 0x8004_587d;
/// Neither data nor the journal is written any more: what a power cut does.
const NO_LOG_FLUSH: u32 = 2;
/// What directories of these disks begin with; the process id follows.
const PREFIX: &str = "kluis-disk-";
/// Limit of waits for the system: they only end what hangs.
const LIMIT: Duration = Duration::from_secs(30);
/// After this a carrier that somebody still uses is ended all the same.
const LET_GO_LIMIT: Duration = Duration::from_secs(3);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A file system in a file.
#[derive(Debug)]
pub struct LoopDisk {
    dir: TempDir,
    bytes: u64,
    carrier: Option<Child>,
    device: Option<String>,
}

impl LoopDisk {
    /// An empty one of `mib` MiB, not mounted. Declare it before the cluster that uses it: it has to go last.
    ///
    /// # Panics
    /// When this process is not root, or `mkfs.ext4` is missing.
    pub fn new(mib: u64) -> Self {
        static FIRST: Once = Once::new();
        tools::need_root();
        FIRST.call_once(remove_leftovers);
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir().expect("the temporary directory is writable");
        let disk = Self { dir, bytes: mib << 20, carrier: None, device: None };
        File::create_new(disk.image()).and_then(|file| file.set_len(disk.bytes)).expect("an image can be made");
        must("mkfs.ext4", &["-q", "-m", "0", text(&disk.image())]);
        fs::create_dir(disk.root()).expect("a mount point can be made");
        disk
    }

    /// Where it is mounted.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// The image as `nbdkit` lets it be seen.
    fn carried(&self) -> PathBuf {
        self.dir.path().join("carried")
    }

    /// While this file is there, everything fails.
    fn switch(&self) -> PathBuf {
        self.dir.path().join("fail")
    }

    /// Mounts it.
    ///
    /// # Panics
    /// When there is no loop device.
    pub fn mount(&mut self) {
        self.mount_image(&self.image());
    }

    /// Mounts it behind filters: each read and write takes at least `delay_ms`, and [`LoopDisk::set_broken`] works.
    ///
    /// # Panics
    /// When `nbdkit` or `nbdfuse` is missing.
    pub fn mount_filtered(&mut self, delay_ms: u32) {
        let carried = self.carried();
        File::create(&carried).expect("a mount point can be made");
        let mut command = Command::new("nbdfuse");
        command.arg(&carried).args(["--command", "nbdkit", "-s", "--filter=error", "--filter=delay", "file"]).arg(self.image());
        command.arg("error-rate=100%").arg(format!("error-file={}", text(&self.switch())));
        command.arg(format!("rdelay={delay_ms}ms")).arg(format!("wdelay={delay_ms}ms"));
        let log = File::create(self.dir.path().join("nbdfuse.log")).expect("a log can be made");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|e| panic!("`nbdfuse` cannot be run ({e}): deploy/setup.sh installs it"));
        let child = self.carrier.insert(child);
        let until = Instant::now() + LIMIT;
        while fs::metadata(&carried).map_or(0, |seen| seen.len()) != self.bytes {
            let ended = child.try_wait().expect("a child can be looked at");
            let log = || fs::read_to_string(self.dir.path().join("nbdfuse.log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "nbdfuse shows no image: {ended:?}: {}", log());
            thread::sleep(LOOK_EVERY);
        }
        self.mount_image(&carried);
    }

    fn mount_image(&mut self, image: &Path) {
        assert!(self.device.is_none(), "it is mounted already");
        let device = must("losetup", &["--find", "--show", text(image)]).trim().to_owned();
        // Kept first: a mount that fails must not leave the device behind.
        self.device = Some(device.clone());
        must("mount", &["-t", "ext4", device.as_str(), text(&self.root())]);
    }

    /// Unmounts it. Nobody may use it any more; a process that just ended may take a moment.
    ///
    /// # Panics
    /// When somebody still uses it after a while.
    pub fn unmount(&mut self) {
        let until = Instant::now() + LIMIT;
        while !attempt("umount", &[text(&self.root())]) {
            assert!(Instant::now() < until, "{} is still in use", self.root().display());
            thread::sleep(LOOK_EVERY);
        }
        self.put_down();
    }

    /// Moves a directory onto it, whose owner is stopped, and leaves a link in its place. It has to be mounted.
    ///
    /// # Panics
    /// When the directory does not fit.
    pub fn take_over(&self, path: &Path) {
        let root = self.root();
        // Of the file system's, not of a disk's.
        fs::remove_dir(root.join("lost+found")).expect("a new ext4 has that folder");
        must("cp", &["-a", &format!("{}/.", text(path)), text(&root)]);
        must("sync", &["-f", text(&root)]);
        fs::remove_dir_all(path).expect("what was copied can be removed");
        std::os::unix::fs::symlink(&root, path).expect("a link takes its place");
    }

    /// Cuts its power: nothing that was not synced is kept, and every call fails until it is mounted again.
    ///
    /// # Panics
    /// When the file system knows no such call.
    pub fn cut_power(&self) {
        let root = File::open(self.root()).expect("a mounted disk can be opened");
        // SAFETY: the opcode is that of EXT4_IOC_SHUTDOWN, which reads one `__u32` where its argument points; `Setter`
        // keeps an initialised u32 there for the length of the call.
        let done = unsafe { ioctl(&root, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) };
        done.unwrap_or_else(|e| panic!("{} cannot be shut down: {e}", self.root().display()));
    }

    /// Makes it read-only under whoever writes to it, as the kernel does when it finds the file system damaged.
    ///
    /// # Panics
    /// When the file system does not allow it.
    pub fn make_read_only(&self) {
        must("mount", &["-o", "remount,abort", text(&self.root())]);
    }

    /// Makes every read and write fail with an I/O error, or ends that. It has to be mounted behind filters.
    ///
    /// # Panics
    /// When it is not.
    pub fn set_broken(&self, broken: bool) {
        assert!(self.carrier.is_some(), "only what is mounted behind filters can be broken");
        if broken {
            File::create(self.switch()).expect("the switch can be set");
        } else {
            fs::remove_file(self.switch()).expect("the switch was set");
        }
    }

    /// Ends device and carrier.
    fn put_down(&mut self) {
        if let Some(device) = self.device.take() {
            attempt("losetup", &["-d", &device]);
        }
        if let Some(mut carrier) = self.carrier.take() {
            let carried = self.carried();
            // The device may take a moment to let go. What is on its way still arrives, unless that never happens.
            let until = Instant::now() + LET_GO_LIMIT;
            while !attempt("fusermount3", &["-u", text(&carried)]) {
                if Instant::now() >= until {
                    attempt("fusermount3", &["-u", "-z", text(&carried)]);
                    let _ = carrier.kill();
                    break;
                }
                thread::sleep(LOOK_EVERY);
            }
            let _ = carrier.wait();
        }
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.device.is_some() && !attempt("umount", &[text(&self.root())]) {
            attempt("umount", &["-l", text(&self.root())]);
        }
        self.put_down();
    }
}

/// The process that made a directory, if it is one of ours.
fn maker(path: &str) -> Option<u32> {
    let (_, rest) = path.split_once(&format!("/{PREFIX}"))?;
    rest.split_once('-')?.0.parse().ok()
}

fn is_leftover(path: &str) -> bool {
    maker(path).is_some_and(|pid| !tools::is_alive(pid))
}

fn remove_leftovers() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for path in mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| is_leftover(path)) {
        attempt("umount", &["-l", path]);
    }
    for line in must("losetup", &["--list", "--noheadings", "--output", "NAME,BACK-FILE"]).lines() {
        if let Some((device, image)) = line.trim().split_once(' ')
            && is_leftover(image)
        {
            attempt("losetup", &["-d", device]);
        }
    }
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry.path().to_str().is_some_and(is_leftover) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn put(path: &Path, sync: bool) -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(&[7; 10_000])?;
        if sync { file.sync_all() } else { Ok(()) }
    }

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_nothing_else() {
        let mut disk = LoopDisk::new(32);
        disk.mount();
        put(&disk.root().join("synced"), true).unwrap();
        must("sync", &["-f", text(&disk.root())]);
        put(&disk.root().join("written"), false).unwrap();
        disk.cut_power();
        assert!(put(&disk.root().join("later"), false).is_err());
        disk.unmount();
        disk.mount();
        assert_eq!(fs::read(disk.root().join("synced")).unwrap(), [7; 10_000]);
        assert!(fs::read(disk.root().join("written")).is_err());
    }

    #[test]
    fn a_directory_moves_and_its_new_place_becomes_read_only() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("d1");
        fs::create_dir(&dir).unwrap();
        put(&dir.join("file"), true).unwrap();
        let mut disk = LoopDisk::new(32);
        disk.mount();
        disk.take_over(&dir);
        assert_eq!(fs::read(dir.join("file")).unwrap().len(), 10_000);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        disk.make_read_only();
        let refused = put(&dir.join("more"), false).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        fs::read(dir.join("file")).unwrap();
    }

    #[test]
    fn a_broken_disk_fails_to_sync_and_a_slow_one_does_not() {
        let mut disk = LoopDisk::new(32);
        disk.mount_filtered(5);
        put(&disk.root().join("one"), true).unwrap();
        disk.set_broken(true);
        assert!(put(&disk.root().join("two"), true).is_err());
        disk.set_broken(false);
        disk.unmount();
        disk.mount();
        assert_eq!(fs::read(disk.root().join("one")).unwrap().len(), 10_000);
    }

    #[test]
    fn only_directories_of_ours_are_known() {
        assert_eq!(maker("/tmp/kluis-disk-4711-abc/root"), Some(4711));
        for other in ["/tmp/kluis-disk-x", "/tmp/kluis-test-4711-abc", "kluis-disk-4711-abc"] {
            assert_eq!(maker(other), None, "{other}");
        }
    }
}
