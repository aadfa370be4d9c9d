//! A TAP device: a network card whose wire is a file of ours.
//!
//! Owns: making one. Not: frames ([`super`]).
//! Holds: the device lives as long as the file is open.
//! Why an ioctl of our own: `ip tuntap` makes devices that outlive a test.

use std::{fs::File, io, mem::size_of};

use rustix::ioctl::{Opcode, Updater, ioctl};

/// `TUNSETIFF`, from the kernel's `linux/if_tun.h`: `_IOW('T', 202, int)`.
const TUNSETIFF: Opcode = 0x4004_54ca;
/// Frames with their Ethernet head, and nothing before it.
const IFF_TAP_NO_PI: i16 = 0x0002 | 0x1000;
/// Longest name of a network card.
pub const NAME_BYTES_MAX: usize = 15;

/// The kernel's `struct ifreq`, as far as `TUNSETIFF` reads it: 40 bytes where pointers have 64 bits.
#[repr(C)]
struct IfReq {
    name: [u8; NAME_BYTES_MAX + 1],
    flags: i16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<IfReq>() == 40);

/// Makes the device `name` in the namespace of this thread.
///
/// # Errors
/// There is no TUN driver, no right to use it, or the name is taken.
pub fn open(name: &str) -> io::Result<File> {
    let mut request = IfReq { name: [0; NAME_BYTES_MAX + 1], flags: IFF_TAP_NO_PI, rest: [0; 22] };
    let room = request.name.get_mut(..name.len()).filter(|_| name.len() <= NAME_BYTES_MAX);
    room.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name is too long"))?.copy_from_slice(name.as_bytes());
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: the opcode is that of TUNSETIFF, which reads and writes one `struct ifreq` where its argument points;
    // `IfReq` has the size and layout of that on 64-bit Linux (asserted above), is initialised, and outlives the call.
    unsafe { ioctl(&file, Updater::<TUNSETIFF, IfReq>::new(&mut request)) }?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert_eq!(open("sixteen-letters-").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
