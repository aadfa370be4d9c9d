//! A switch of our own between network namespaces: delay, jitter, loss, reordering, duplicates, damage, rate and
//! cuts, for each direction by itself.
//!
//! Reading order: [`link`] (what happens to a frame: pure), this file (who is where, when frames arrive), [`tap`]
//! (the network cards).
//!
//! Owns: ports, learned addresses, the queue of frames on their way. Not: namespaces ([`crate::netns`]).
//! Holds: (1) a frame is decided on once a direction, under one lock, in the order of arrival; (2) frames due at the
//! same time leave in the order in which they came; (3) all threads end with the switch.
//! Why not the kernel's: `netem` is a module that not every kernel has, and nothing else delays.

pub mod link;
pub mod tap;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fs::File,
    io::{Read as _, Write as _},
    net::Ipv4Addr,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use link::Link;
pub use link::{Counters, Faults, Random};

use crate::{netns::Namespace, tools};

/// Longest frame: the cards have an MTU of 1500, and a head may have a tag.
const FRAME_BYTES_MAX: usize = 2048;
/// How often an idle port looks whether the switch is at its end.
const IDLE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// An Ethernet address.
type Address = [u8; 6];

/// A running switch, with a port for each of some namespaces.
pub struct Switch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    taps: Vec<File>,
    state: Mutex<State>,
    wake: Condvar,
    began: Instant,
}

struct State {
    /// From port `f` to port `t` at `f * ports + t`.
    links: Vec<Link>,
    places: HashMap<Address, usize>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    taken: u64,
    undelivered: u64,
    stop: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due_us: u64,
    number: u64,
    to: usize,
    frame: Vec<u8>,
}

impl Switch {
    /// Connects namespaces, each with an address of a /16 that all of them share. Port 0 is the first one's.
    ///
    /// # Panics
    /// When a network card cannot be made.
    pub fn new(seed: u64, ports: &[(&Namespace, Ipv4Addr)]) -> Self {
        tools::need_root();
        let taps = ports.iter().map(|(namespace, address)| plug_in(namespace, *address)).collect();
        let count = ports.len() as u64;
        let state = State {
            links: (0..count * count).map(|i| Link::new(seed ^ (i + 1).wrapping_mul(0xd134_2543_de82_ef95))).collect(),
            places: HashMap::new(),
            waiting: BinaryHeap::new(),
            taken: 0,
            undelivered: 0,
            stop: false,
        };
        let shared = Arc::new(Shared { taps, state: Mutex::new(state), wake: Condvar::new(), began: Instant::now() });
        let mut threads = Vec::new();
        for port in 0..ports.len() {
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || shared.listen(port)));
        }
        let delivering = Arc::clone(&shared);
        threads.push(thread::spawn(move || delivering.deliver()));
        Self { shared, threads }
    }

    /// Changes one direction.
    pub fn change(&self, from: usize, to: usize, change: impl FnOnce(&mut Faults)) {
        let mut state = self.shared.state();
        let link = &mut state.links[from * self.shared.taps.len() + to];
        let mut faults = link.faults();
        change(&mut faults);
        link.set(faults);
    }

    /// Changes both directions between each two of these ports.
    pub fn among(&self, ports: &[usize], change: impl Fn(&mut Faults)) {
        for from in ports {
            for to in ports.iter().filter(|to| *to != from) {
                self.change(*from, *to, &change);
            }
        }
    }

    /// Cuts a port off from some others, or heals that, in both directions.
    pub fn isolate(&self, port: usize, others: &[usize], cut: bool) {
        for other in others {
            self.change(port, *other, |faults| faults.cut = cut);
            self.change(*other, port, |faults| faults.cut = cut);
        }
    }

    /// What became of the frames of one direction.
    pub fn counters(&self, from: usize, to: usize) -> Counters {
        self.shared.state().links[from * self.shared.taps.len() + to].counters()
    }

    /// Frames that a card did not take: it is down, or its namespace is gone.
    pub fn undelivered(&self) -> u64 {
        self.shared.state().undelivered
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // What a thread panicked of was printed; this may run while the test panics.
            let _ = thread.join();
        }
    }
}

/// Makes a card in the namespace, with its address.
fn plug_in(namespace: &Namespace, address: Ipv4Addr) -> File {
    let (name, card) = (namespace.name(), namespace.card());
    let tap = tap::open(&card).unwrap_or_else(|e| panic!("no TAP device {card} can be made: {e}"));
    tools::must("ip", &["link", "set", &card, "netns", name]);
    tools::must("ip", &["-n", name, "addr", "add", &format!("{address}/16"), "dev", &card]);
    tools::must("ip", &["-n", name, "link", "set", &card, "mtu", "1500", "up"]);
    tap
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes the frames of a port.
    fn listen(&self, port: usize) {
        let mut tap = &self.taps[port];
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        loop {
            let mut ready = [PollFd::new(tap, PollFlags::IN)];
            let count = match poll(&mut ready, Some(&IDLE)) {
                Err(Errno::INTR) => 0,
                Err(_) => return,
                Ok(count) => count,
            };
            if self.state().stop {
                return;
            }
            if count == 0 {
                continue;
            }
            // The card is gone when this fails.
            let Ok(len) = tap.read(&mut buffer) else { return };
            self.take(port, &buffer[..len]);
        }
    }

    fn take(&self, from: usize, frame: &[u8]) {
        let (Some(target), Some(source)) = (address(frame, 0), address(frame, 6)) else { return };
        let ports = self.taps.len();
        let now_us = self.now_us();
        let mut state = self.state();
        let State { links, places, waiting, taken, .. } = &mut *state;
        places.insert(source, from);
        // Who is not known yet, and everybody, is everywhere.
        let targets = places.get(&target).map_or(0..ports, |port| *port..*port + 1);
        for to in targets.filter(|to| *to != from) {
            for delivery in links[from * ports + to].pass(now_us, frame) {
                let mut frame = frame.to_vec();
                if let Some((byte, mask)) = delivery.flip {
                    frame[byte] ^= mask;
                }
                *taken += 1;
                waiting.push(Reverse(Waiting { due_us: delivery.due_us, number: *taken, to, frame }));
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Sends frames on when they are due.
    fn deliver(&self) {
        let mut state = self.state();
        while !state.stop {
            let now_us = self.now_us();
            let next_us = state.waiting.peek().map(|Reverse(first)| first.due_us);
            state = match next_us {
                None => self.wake.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(due_us) if due_us > now_us => {
                    let wait = Duration::from_micros(due_us - now_us);
                    self.wake.wait_timeout(state, wait).unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
                Some(_) => {
                    let first = state.waiting.pop();
                    // Not under the lock: the kernel hands the frame to the receiver within this call.
                    drop(state);
                    let arrived = first.is_none_or(|Reverse(first)| {
                        let mut tap = &self.taps[first.to];
                        matches!(tap.write(&first.frame), Ok(len) if len == first.frame.len())
                    });
                    let mut state = self.state();
                    state.undelivered += u64::from(!arrived);
                    state
                }
            };
        }
    }
}

/// The address at a place of a frame.
fn address(frame: &[u8], at: usize) -> Option<Address> {
    frame.get(at..at + 6)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);

    /// A socket inside a namespace that gives up after a while.
    fn socket(namespace: &Namespace, address: Ipv4Addr) -> UdpSocket {
        let socket = namespace.run(|| UdpSocket::bind((address, 9)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket
    }

    fn arrives(from: &UdpSocket, to: &UdpSocket) -> bool {
        let target = to.local_addr().unwrap();
        // The first datagrams may be lost with the address resolution of a cut.
        (0..6).any(|i: u8| {
            let _ = from.send_to(&[i], target);
            let mut buffer = [0; 8];
            to.recv_from(&mut buffer).is_ok()
        })
    }

    #[test]
    fn two_namespaces_hear_each_other_until_they_are_cut_one_way() {
        let (a, b) = (Namespace::new(), Namespace::new());
        let switch = Switch::new(1, &[(&a, ONE), (&b, TWO)]);
        let (one, two) = (socket(&a, ONE), socket(&b, TWO));
        assert!(arrives(&one, &two) && arrives(&two, &one));
        switch.change(0, 1, |faults| faults.cut = true);
        assert!(!arrives(&one, &two));
        assert!(arrives(&two, &one), "the other direction is not cut");
        assert!(switch.counters(0, 1).cut > 0);
        switch.change(0, 1, |faults| faults.cut = false);
        assert!(arrives(&one, &two));
        switch.isolate(0, &[1], true);
        assert!(!arrives(&one, &two) && !arrives(&two, &one));
    }

    #[test]
    fn what_arrives_damaged_is_dropped_by_the_receiver() {
        let (a, b) = (Namespace::new(), Namespace::new());
        let switch = Switch::new(2, &[(&a, ONE), (&b, TWO)]);
        let (one, two) = (socket(&a, ONE), socket(&b, TWO));
        assert!(arrives(&one, &two));
        switch.among(&[0, 1], |faults| faults.corrupt_ppm = 1_000_000);
        assert!(!arrives(&one, &two));
        assert!(switch.counters(0, 1).corrupted > 0);
    }
}
