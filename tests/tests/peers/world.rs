//! One authority, nodes of it in this process, and callers made by hand.
//!
//! Owns: certificates of every kind, a real handler ([`Peers`]) behind a real hub on loopback, raw QUIC
//! connections that say exactly the bytes they are told to. Not: what is tested.
//! Holds: waits end with a panic after [`PATIENCE`], which is a guard against a hang and asserts no speed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use kluis_chunkstore::{
    disk::DiskOptions,
    env::Env,
    ids::{BlobId, ChunkId, ClusterId, DiskId, NodeId, ShardKey, SiteName, StorageId},
    net::{
        Hub, HubOptions, NodeIdentity,
        identity::{ALPN, NodeName},
    },
    wire::{FRAME_BYTES, FaultCode, Frame, FrameKind, Hello, PeerAnswer, PeerFault, PeerRequest, decode_head, encode_head},
};
use kluis_node::{
    assemble::real_env,
    ca::{Authority, new_key},
    disks::DiskSet,
    member::Card,
    peers::Peers,
};
use kluis_raft::model::{NodeRecord, NodeRole};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, TransportConfig, VarInt, crypto::rustls::QuicClientConfig};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::sync::mpsc;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Members of the cluster.
pub const MEMBERS: u64 = 4;
const CLUSTER: ClusterId = ClusterId(0xc1);

/// Waits, but not for ever.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened for two minutes")
}

/// A shard's name.
pub fn shard(number: u128) -> ShardKey {
    ShardKey { chunk: ChunkId { blob: BlobId(number), index: 0 }, shard: 0 }
}

/// A certificate with its key.
pub struct Credentials {
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

/// An authority.
pub struct World {
    env: Env,
    authority: Authority,
    key_pem: String,
    name: String,
}

impl World {
    /// The authority of a new cluster.
    pub fn new(name: &str) -> Self {
        let env = real_env();
        let (authority, key) = Authority::create(&env, name).unwrap();
        Self { env, authority, key_pem: key.to_string(), name: name.to_owned() }
    }

    /// The DNS name of a node.
    pub fn dns(&self, node: u64) -> String {
        self.node_name(node).to_dns()
    }

    fn node_name(&self, node: u64) -> NodeName {
        NodeName { node: NodeId(node), site: site(), cluster: self.name.clone() }
    }

    /// What the product gives a node.
    pub fn node(&self, node: u64) -> Credentials {
        let key = new_key().unwrap();
        credentials(&self.authority.sign_node(&self.env, &key.request_pem, &self.node_name(node)).unwrap(), &key.key_pem)
    }

    /// What the product gives a node's HTTPS listeners.
    pub fn listener(&self, node: u64) -> Credentials {
        let key = new_key().unwrap();
        let addresses = [Ipv4Addr::LOCALHOST.into()];
        let certificate = self.authority.sign_listener(&self.env, &key.request_pem, &self.node_name(node), &addresses).unwrap();
        credentials(&certificate, &key.key_pem)
    }

    /// What the product gives an operator.
    pub fn operator(&self) -> Credentials {
        let key = new_key().unwrap();
        credentials(&self.authority.sign_operator(&self.env, &key.request_pem, "ann").unwrap(), &key.key_pem)
    }

    /// A node's certificate that this authority signed after `change`.
    pub fn signed(&self, node: u64, change: impl FnOnce(&mut CertificateParams)) -> Credentials {
        let mut params = node_params(&self.dns(node));
        change(&mut params);
        let issuer = Issuer::from_ca_cert_pem(&self.authority.certificate_pem, KeyPair::from_pem(&self.key_pem).unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        credentials(&params.signed_by(&key, &issuer).unwrap().pem(), &key.serialize_pem())
    }

    /// A node's certificate that nobody but its own key signed.
    pub fn self_made(&self, node: u64) -> Credentials {
        let key = KeyPair::generate().unwrap();
        credentials(&node_params(&self.dns(node)).self_signed(&key).unwrap().pem(), &key.serialize_pem())
    }

    /// TLS and transport of a caller that trusts this authority.
    pub fn config(&self, credentials: Option<Credentials>, protocols: &[&[u8]]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.authority.certificate_pem.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut tls = match credentials {
            Some(own) => builder.with_client_auth_cert(own.chain, own.key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
    }

    /// As [`World::config`] for a right node, with windows for what it receives and what it sends.
    pub fn config_with_windows(&self, node: u64, receive_bytes: u32, send_bytes: u32) -> ClientConfig {
        let mut transport = TransportConfig::default();
        transport
            .receive_window(VarInt::from_u32(receive_bytes))
            .stream_receive_window(VarInt::from_u32(receive_bytes))
            .send_window(send_bytes.into());
        let mut config = self.config(Some(self.node(node)), &[ALPN]);
        config.transport_config(Arc::new(transport));
        config
    }

    /// Serves a node: the product's handler and hub over one new disk.
    pub async fn serve(&self, node: u64) -> Served {
        let dir = tempfile::tempdir().unwrap();
        let card = Card {
            cluster: CLUSTER,
            cluster_name: self.name.clone(),
            node: NodeId(node),
            site: site(),
            roles: vec![NodeRole::Metadata, NodeRole::Chunk],
            storage: StorageId(node.into()),
            first_peers: (1..=MEMBERS).map(member).collect(),
        };
        let path = dir.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        let options = DiskOptions { segment_bytes: 64 << 20, ..DiskOptions::default() };
        let disks = Arc::new(DiskSet::open(&self.env, &card, &[path], &options).await);
        let disk = disks.all().first().expect("the disk opens").label().disk;
        let (suspect, suspects) = mpsc::channel(64);
        let peers = Arc::new(Peers::new(self.env.clone(), card, disks, suspect));
        let key = new_key().unwrap();
        let certificate = self.authority.sign_node(&self.env, &key.request_pem, &self.node_name(node)).unwrap();
        let ca = self.authority.certificate_pem.as_bytes();
        let identity = NodeIdentity::from_pem(certificate.as_bytes(), key.key_pem.as_bytes(), ca).unwrap();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let hub = Hub::start(&self.env, &identity, listen, peers.clone(), HubOptions::default()).unwrap();
        let address = hub.local_address().unwrap();
        Served { hub, peers, disk, address, _suspects: suspects, _dir: dir }
    }
}

/// The name of the one site.
pub fn site() -> SiteName {
    "dc1".parse().unwrap()
}

fn member(id: u64) -> NodeRecord {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    NodeRecord {
        id: NodeId(id),
        site: site(),
        roles: vec![NodeRole::Metadata, NodeRole::Chunk],
        storage: StorageId(id.into()),
        quic: nowhere,
        admin: nowhere,
        gateway: None,
        joined_ms: 0,
    }
}

fn node_params(dns: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![dns.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn credentials(certificate_pem: &str, key_pem: &str) -> Credentials {
    Credentials {
        chain: CertificateDer::pem_slice_iter(certificate_pem.as_bytes()).collect::<Result<_, _>>().unwrap(),
        key: PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap(),
    }
}

/// A node that serves.
pub struct Served {
    /// Its connections.
    pub hub: Arc<Hub>,
    /// Its handler.
    pub peers: Arc<Peers>,
    /// Its disk.
    pub disk: DiskId,
    /// Where it listens.
    pub address: SocketAddr,
    _suspects: mpsc::Receiver<(BlobId, u32)>,
    _dir: tempfile::TempDir,
}

impl Served {
    /// Opens a connection, without a hello.
    pub async fn dial(&self, config: ClientConfig, name: &str) -> Result<Caller, ConnectionError> {
        let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let connecting = endpoint.connect_with(config, self.address, name).unwrap();
        let connection = within(connecting).await?;
        Ok(Caller { connection, _endpoint: endpoint })
    }

    /// How a connection ends that should not be taken. A caller learns of a refused certificate only after
    /// its own half of the handshake.
    pub async fn refusal(&self, config: ClientConfig, name: &str) -> ConnectionError {
        match self.dial(config, name).await {
            Ok(caller) => within(caller.connection.closed()).await,
            Err(error) => error,
        }
    }

    /// A connection as `node` with its right certificate, before the hello.
    pub async fn stranger(&self, world: &World, node: u64) -> Caller {
        self.dial(world.config(Some(world.node(node)), &[ALPN]), &world.dns(1)).await.unwrap()
    }

    /// A connection as `node` that was admitted.
    pub async fn peer(&self, world: &World, node: u64) -> Caller {
        let caller = self.stranger(world, node).await;
        caller.greet(node).await;
        caller
    }
}

/// The TLS alert that an error carries.
pub fn alert(error: &ConnectionError) -> Option<u64> {
    let code = match error {
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        ConnectionError::TransportError(error) => u64::from(error.code),
        _ => return None,
    };
    code.checked_sub(0x100)
}

/// The right hello of a node to node 1.
pub fn hello(node: u64) -> Hello {
    Hello { cluster: CLUSTER, node: NodeId(node), storage: StorageId(node.into()), to: NodeId(1), program: "test".into() }
}

/// A message as bytes.
pub fn message(request: &PeerRequest, body: &[u8]) -> Vec<u8> {
    let head = encode_head(request).unwrap();
    framed(&head, body)
}

/// Any head and body behind a right frame.
pub fn framed(head: &[u8], body: &[u8]) -> Vec<u8> {
    let frame = Frame { kind: FrameKind::Request, head_len: u32::try_from(head.len()).unwrap(), body_len: body.len() as u64 };
    [frame.encode().as_slice(), head, body].concat()
}

/// What came back on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An answer.
    Answer(PeerAnswer, Bytes),
    /// A refusal: code and detail.
    Fault(FaultCode, String),
    /// Nothing: the stream or the connection ended.
    Closed(String),
}

/// A connection made by hand.
pub struct Caller {
    /// The connection.
    pub connection: Connection,
    _endpoint: Endpoint,
}

impl Caller {
    /// Says exactly `bytes` on a new stream, ends it, and reads the reply.
    pub async fn say(&self, bytes: &[u8]) -> Reply {
        let (mut send, mut recv) = match self.connection.open_bi().await {
            Ok(streams) => streams,
            Err(error) => return Reply::Closed(error.to_string()),
        };
        // A node that has read enough stops the stream: its reply is what counts.
        let _ = within(send.write_all(bytes)).await;
        let _ = send.finish();
        within(read_reply(&mut recv)).await
    }

    /// Asks a right request.
    pub async fn ask(&self, request: &PeerRequest, body: &[u8]) -> Reply {
        self.say(&message(request, body)).await
    }

    /// Says the right hello, and is admitted.
    pub async fn greet(&self, node: u64) {
        match self.ask(&PeerRequest::Hello(hello(node)), &[]).await {
            Reply::Answer(PeerAnswer::Welcome(own), _) => assert_eq!((own.node, own.to), (NodeId(1), NodeId(node))),
            other => panic!("n{node} was not admitted: {other:?}"),
        }
    }
}

/// Reads a reply to its end.
pub async fn read_reply(recv: &mut RecvStream) -> Reply {
    let mut frame = [0; FRAME_BYTES];
    if let Err(error) = recv.read_exact(&mut frame).await {
        return Reply::Closed(error.to_string());
    }
    let frame = Frame::decode(&frame).expect("a node sends right frames");
    let mut head = vec![0; frame.head_len as usize];
    let mut body = vec![0; usize::try_from(frame.body_len).unwrap()];
    for part in [&mut head, &mut body] {
        if let Err(error) = recv.read_exact(part).await {
            return Reply::Closed(error.to_string());
        }
    }
    match frame.kind {
        FrameKind::Answer => Reply::Answer(decode_head(&head).unwrap(), body.into()),
        FrameKind::Fault => {
            let fault: PeerFault = decode_head(&head).unwrap();
            Reply::Fault(fault.code, fault.detail)
        }
        FrameKind::Request => panic!("a request came as a reply"),
    }
}
