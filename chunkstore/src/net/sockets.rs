//! Real sockets, for [`crate::env::Env`].
//!
//! Owns: opening them, and how large the kernel's buffers are. Holds: a buffer that the kernel refuses to
//! enlarge is no error; more datagrams are lost then, and sent again.

use std::{io, net::SocketAddr, sync::Arc};

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, udp::UdpSocketState};

use crate::env::Sockets;

/// What the kernel is asked to hold for a UDP socket: a burst of shards from all peers.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// The sockets of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSockets;

#[async_trait::async_trait]
impl Sockets for SystemSockets {
    fn udp(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = std::net::UdpSocket::bind(address)?;
        if let Ok(state) = UdpSocketState::new((&socket).into()) {
            let _ = state.set_recv_buffer_size((&socket).into(), BUFFER_BYTES);
            let _ = state.set_send_buffer_size((&socket).into(), BUFFER_BYTES);
        }
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn quinn_runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }

    async fn tcp_listen(&self, address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::bind(address).await
    }
}
