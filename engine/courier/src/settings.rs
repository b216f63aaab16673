//! What all sessions share: the node's certificate, the DTLS and SCTP configuration.

use std::sync::Arc;
use std::time::Duration;

use dimpl::DtlsCertificate;
use engine_table::IdentityRow;
use sctp_proto::{ClientConfig, EndpointConfig, ServerConfig, TransportConfig};

use crate::clock::Clock;
use crate::limits;
use crate::signing;

/// DTLS versions to speak. `Auto` is what a node runs; the others are for interoperability tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    Auto,
    Dtls12,
    Dtls13,
}

/// What is wrong with the settings: an operator's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The identity row has no certificate, or no ECDSA P-256 key.
    NoIdentity,
    /// The DTLS library refuses the configuration.
    Dtls,
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoIdentity => "the node's identity has no certificate or key; restart the node to make a new one",
            Self::Dtls => "the DTLS library refuses its configuration; this is a bug, please report it",
        })
    }
}

impl std::error::Error for SettingsError {}

/// Shared by all sessions.
#[derive(Debug)]
pub struct Settings {
    pub(crate) clock: Clock,
    pub(crate) versions: Versions,
    pub(crate) certificate: DtlsCertificate,
    pub(crate) dtls: Arc<dimpl::Config>,
    pub(crate) sctp_endpoint: Arc<EndpointConfig>,
    pub(crate) sctp_server: Arc<ServerConfig>,
    pub(crate) sctp_client: ClientConfig,
}

impl Settings {
    /// **Input**: the node's certificate and PKCS#8 key, both DER, as the holder made them.
    pub fn new(identity: &IdentityRow, versions: Versions, clock: Clock) -> Result<Arc<Self>, SettingsError> {
        if identity.certificate.is_empty() || identity.private_key.is_empty() {
            return Err(SettingsError::NoIdentity);
        }
        // The key is the provider's, once for all sessions.
        let certificate =
            DtlsCertificate { certificate: identity.certificate.as_bytes().to_vec(), private_key: Vec::new() };
        let provider = signing::provider(identity.private_key.as_bytes()).ok_or(SettingsError::NoIdentity)?;
        let dtls = dimpl::Config::builder()
            .with_crypto_provider(provider)
            .flight_start_rto(Duration::from_millis(limits::DTLS_RTO_MS))
            .flight_retries(limits::DTLS_RETRIES)
            // Only sources with an authenticated check reach us: a cookie would cost a round trip and prove nothing more.
            .use_server_cookie(false)
            .require_client_certificate(true)
            .max_queue_rx(2 * limits::EARLY_DATAGRAMS_MAX + 32)
            .build()
            .map_err(|_| SettingsError::Dtls)?;
        let mut endpoint = EndpointConfig::new();
        endpoint.max_payload_size(limits::SCTP_PAYLOAD_BYTES);
        let mut server = ServerConfig::new();
        server.transport = Arc::new(transport());
        let mut client = ClientConfig::new();
        client.transport = Arc::new(transport());
        Ok(Arc::new(Self {
            clock,
            versions,
            certificate,
            dtls: Arc::new(dtls),
            sctp_endpoint: Arc::new(endpoint),
            sctp_server: Arc::new(server),
            sctp_client: client,
        }))
    }
}

fn transport() -> TransportConfig {
    TransportConfig::default()
        .with_max_send_message_size(limits::MESSAGE_BYTES_MAX as u32)
        .with_max_receive_message_size(limits::MESSAGE_BYTES_MAX as u32)
        .with_max_num_inbound_streams(limits::SCTP_STREAMS_MAX)
        .with_max_num_outbound_streams(limits::SCTP_STREAMS_MAX)
        .with_rto_initial_ms(limits::SCTP_RTO_INITIAL_MS)
        .with_rto_min_ms(limits::SCTP_RTO_MIN_MS)
        .with_rto_max_ms(limits::SCTP_RTO_MAX_MS)
        // Consent checks end a dead transport (RFC 7675); SCTP must not give up before them.
        .with_max_init_retransmits(None)
        .with_max_data_retransmits(None)
        .with_local_port(limits::SCTP_PORT)
        .with_remote_port(limits::SCTP_PORT)
}
