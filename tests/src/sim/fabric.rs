//! The network between nodes: datagrams with delay, loss, duplication, reordering and cuts in each direction.
//!
//! Owns: what happens to a datagram, and the sockets that quinn is given. Not: who is cut off when ([`super::plan`]).
//! Holds: (1) a datagram arrives at the beginning of a window after the one in which it was sent, never before
//! [`WINDOW_US`] have passed; (2) one to an address where nobody is bound is lost; (3) what arrives was
//! sent, bit by bit (corruption is quinn's matter and tested on real sockets).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use xxhash_rust::xxh3::Xxh3;

use super::rng::Rng;

/// Length of a window of time, in microseconds: no datagram is faster.
pub const WINDOW_US: u64 = 2_000;

/// What the links are like.
#[derive(Debug, Clone)]
pub struct Links {
    /// One way between nodes of a site, in microseconds.
    pub near_us: (u64, u64),
    /// One way between sites, in microseconds.
    pub far_us: (u64, u64),
    /// Datagrams lost, of a million.
    pub loss: u64,
    /// Datagrams that come twice, of a million.
    pub duplicate: u64,
    /// Datagrams that are held up for a long time, of a million.
    pub straggle: u64,
}

type Queue = VecDeque<(SocketAddr, Vec<u8>)>;

#[derive(Default)]
struct Inbox {
    queue: Queue,
    waker: Option<Waker>,
}

struct Flight {
    at_us: u64,
    number: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Flight {
    fn order(&self) -> (u64, u64) {
        (self.at_us, self.number)
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

struct State {
    now_us: u64,
    rng: Rng,
    links: Links,
    site_of: BTreeMap<SocketAddr, usize>,
    bound: BTreeMap<SocketAddr, Arc<Mutex<Inbox>>>,
    flights: BinaryHeap<Reverse<Flight>>,
    /// Directions in which nothing passes.
    cut: BTreeSet<(SocketAddr, SocketAddr)>,
    number: u64,
    delivered: u64,
    lost: u64,
    trace: Xxh3,
}

/// The network.
#[derive(Clone)]
pub struct Fabric(Arc<Mutex<State>>);

impl fmt::Debug for Fabric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fabric")
    }
}

impl Fabric {
    /// A network whose nodes lie where `site_of` says.
    pub fn new(rng: Rng, links: Links, site_of: BTreeMap<SocketAddr, usize>) -> Self {
        Self(Arc::new(Mutex::new(State {
            now_us: 0,
            rng,
            links,
            site_of,
            bound: BTreeMap::new(),
            flights: BinaryHeap::new(),
            cut: BTreeSet::new(),
            number: 0,
            delivered: 0,
            lost: 0,
            trace: Xxh3::new(),
        })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket at `address`. The one that was there before, of a process that crashed, hears nothing more.
    pub fn bind(&self, address: SocketAddr) -> Arc<dyn AsyncUdpSocket> {
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        self.lock().bound.insert(address, inbox.clone());
        Arc::new(Socket { fabric: self.clone(), address, inbox })
    }

    /// Nobody is at `address` any more.
    pub fn unbind(&self, address: SocketAddr) {
        self.lock().bound.remove(&address);
    }

    /// Cuts one direction, or mends it.
    pub fn cut(&self, from: SocketAddr, to: SocketAddr, cut: bool) {
        let mut state = self.lock();
        if cut {
            state.cut.insert((from, to));
        } else {
            state.cut.remove(&(from, to));
        }
    }

    /// Mends every cut.
    pub fn mend(&self) {
        self.lock().cut.clear();
    }

    /// Changes what the links are like.
    pub fn set_links(&self, links: Links) {
        self.lock().links = links;
    }

    /// Begins the window at `now_us`: what is due arrives.
    pub fn deliver(&self, now_us: u64) {
        let mut state = self.lock();
        state.now_us = now_us;
        let mut wakers = Vec::new();
        while let Some(Reverse(next)) = state.flights.peek() {
            if next.at_us > now_us {
                break;
            }
            let Some(Reverse(flight)) = state.flights.pop() else { break };
            let Some(inbox) = state.bound.get(&flight.to).cloned() else {
                state.lost += 1;
                continue;
            };
            state.delivered += 1;
            for word in [now_us, u64::from(flight.from.port()), u64::from(flight.to.port()), flight.bytes.len() as u64] {
                state.trace.update(&word.to_le_bytes());
            }
            let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
            inbox.queue.push_back((flight.from, flight.bytes));
            wakers.extend(inbox.waker.take());
        }
        drop(state);
        for waker in wakers {
            waker.wake();
        }
    }

    /// A number that differs when anything about the traffic so far differs: who, to whom, when, how much.
    pub fn trace(&self) -> u64 {
        self.lock().trace.digest()
    }

    /// Datagrams that arrived, and that were lost.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.delivered, state.lost)
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut state = self.lock();
        let state = &mut *state;
        if state.cut.contains(&(from, to)) || state.rng.chance(state.links.loss) {
            state.lost += 1;
            return;
        }
        let near = state.site_of.get(&from) == state.site_of.get(&to);
        let (low, high) = if near { state.links.near_us } else { state.links.far_us };
        let copies = if state.rng.chance(state.links.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = state.rng.between(low, high).max(WINDOW_US);
            if state.rng.chance(state.links.straggle) {
                delay += state.rng.between(50_000, 800_000);
            }
            state.number += 1;
            let flight = Flight { at_us: state.now_us + delay, number: state.number, from, to, bytes: bytes.to_vec() };
            state.flights.push(Reverse(flight));
        }
    }
}

struct Socket {
    fabric: Fabric,
    address: SocketAddr,
    inbox: Arc<Mutex<Inbox>>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({})", self.address)
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.fabric.send(self.address, transmit.destination, transmit.contents);
        Ok(())
    }

    fn poll_recv(&self, context: &mut Context<'_>, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        while count < buffers.len() {
            let Some((from, bytes)) = inbox.queue.pop_front() else { break };
            let len = bytes.len().min(buffers[count].len());
            buffers[count][..len].copy_from_slice(&bytes[..len]);
            meta[count] = RecvMeta { addr: from, len, stride: len, ecn: None, dst_ip: None };
            count += 1;
        }
        if count == 0 {
            inbox.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links { near_us: (2_000, 2_000), far_us: (8_000, 12_000), loss: 0, duplicate: 0, straggle: 0 }
    }

    fn arrived(socket: &Arc<dyn AsyncUdpSocket>) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let mut buffer = [0; 64];
            let mut meta = [RecvMeta::default()];
            match socket.poll_recv(&mut context, &mut [IoSliceMut::new(&mut buffer)], &mut meta) {
                Poll::Ready(Ok(1)) => all.push(buffer[..meta[0].len].to_vec()),
                _ => return all,
            }
        }
    }

    #[test]
    fn datagrams_take_their_time_and_cuts_have_a_direction() {
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let (a, b) = (address(1), address(2));
        let fabric = Fabric::new(Rng::new(1), links(), BTreeMap::from([(a, 0), (b, 1)]));
        let (one, two) = (fabric.bind(a), fabric.bind(b));
        let send = |from: &Arc<dyn AsyncUdpSocket>, to| {
            from.try_send(&Transmit { destination: to, ecn: None, contents: b"hello", segment_size: None, src_ip: None }).unwrap();
        };
        send(&one, b);
        fabric.deliver(6_000);
        assert!(arrived(&two).is_empty(), "faster than the link");
        fabric.deliver(12_000);
        assert_eq!(arrived(&two), [b"hello".to_vec()]);
        fabric.cut(a, b, true);
        send(&one, b);
        send(&two, a);
        fabric.deliver(60_000);
        assert_eq!((arrived(&one).len(), arrived(&two).len()), (1, 0));
        fabric.unbind(a);
        fabric.mend();
        send(&two, a);
        fabric.deliver(120_000);
        assert!(arrived(&one).is_empty(), "the old socket of an address hears nothing");
        assert_eq!(fabric.counts(), (2, 2));
    }
}
