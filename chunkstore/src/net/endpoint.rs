//! The QUIC endpoint of a node, and how it is tuned.
//!
//! Owns: transport parameters. Not: connections ([`super::hub`]).
//! Why these figures: measured on two cores over loopback, a datagram of 6,500 bytes with segmentation
//! offload costs less than half the processor time of 1,452; above 6,550 ten segments no longer fit one
//! send and quinn falls back to 1,200 for good (DECISIONS 0006). Windows of 4 MiB a stream carry a
//! shard without waiting; larger ones only cost cache.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

use super::identity::{IdentityError, NodeIdentity};
use crate::env::Env;

/// Largest datagram that is probed for.
pub const DATAGRAM_BYTES_MAX: u16 = 6_500;
/// Silence after which a connection is given up.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Requests that a peer may have open at once.
pub const STREAMS_MAX: u32 = 512;
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;

fn transport() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(DATAGRAM_BYTES_MAX);
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32))))
        .keep_alive_interval(Some(Duration::from_secs(1)))
        .initial_rtt(Duration::from_millis(50))
        .mtu_discovery_config(Some(mtu))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES));
    config
}

fn server_config(identity: &NodeIdentity) -> Result<ServerConfig, IdentityError> {
    let tls = QuicServerConfig::try_from(identity.server_tls()?).map_err(|e| IdentityError::Tls(e.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport()));
    // Addresses are validated by the handshake; a flood of first packets is answered by Retry, which costs
    // no memory, once many handshakes are pending.
    config.max_incoming(1 << 10);
    Ok(config)
}

fn client_config(identity: &NodeIdentity) -> Result<ClientConfig, IdentityError> {
    let tls = QuicClientConfig::try_from(identity.client_tls()?).map_err(|e| IdentityError::Tls(e.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

/// Opens the endpoint of a node: it listens and dials on one socket.
///
/// # Errors
/// The address cannot be bound, or the identity does not work (as `InvalidInput`).
pub fn open(env: &Env, identity: &NodeIdentity, listen: SocketAddr) -> io::Result<Endpoint> {
    let invalid = |e: IdentityError| io::Error::new(io::ErrorKind::InvalidInput, e.to_string());
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(DATAGRAM_BYTES_MAX).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?;
    let mut seed = [0; 32];
    env.entropy.fill(&mut seed);
    config.rng_seed(Some(seed));
    let server = server_config(identity).map_err(invalid)?;
    let client = client_config(identity).map_err(invalid)?;
    let socket = env.sockets.udp(listen)?;
    let mut endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, env.sockets.quinn_runtime())?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// Puts a renewed identity in force for new connections; the present ones go on.
///
/// # Errors
/// The identity does not work; the old one stays in force.
pub fn reload(endpoint: &mut Endpoint, identity: &NodeIdentity) -> Result<(), IdentityError> {
    let (server, client) = (server_config(identity)?, client_config(identity)?);
    endpoint.set_server_config(Some(server));
    endpoint.set_default_client_config(client);
    Ok(())
}
