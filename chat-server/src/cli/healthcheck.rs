//! `chat-server healthcheck`

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::Body;
use http::Request;
use http::header::HOST;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Config, runtime};
use crate::config::{Address, TlsFiles};
use crate::http::READYZ;
use crate::serve::tls;

/// How long a server may take to say that it is ready.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(config: &Config) -> anyhow::Result<()> {
    let network = &config.network;
    let (address, tls) = match &network.admin_listen {
        Some(admin) => (admin, None),
        None => (&network.listen, network.tls.as_ref()),
    };
    if address.port == 0 {
        bail!("port 0 is picked anew by each server: set the port that it listens on");
    }
    runtime()?.block_on(async {
        tokio::time::timeout(TIMEOUT, ask(address, tls))
            .await
            .with_context(|| format!("{address} didn't answer in {} s", TIMEOUT.as_secs()))?
            .with_context(|| format!("{address} is not ready"))
    })
}

async fn ask(address: &Address, tls: Option<&TlsFiles>) -> anyhow::Result<()> {
    // Listening everywhere is listening here.
    let host = match address.host.as_str() {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let stream = TcpStream::connect((host, address.port)).await?;
    let status = match tls {
        None => get(stream, address).await?,
        Some(files) => {
            let name = ServerName::try_from(host.to_owned())?;
            let connector = TlsConnector::from(Arc::new(trusting(files)?));
            get(connector.connect(name, stream).await?, address).await?
        }
    };
    if !status.is_success() {
        bail!("{READYZ} answered {status}");
    }
    Ok(())
}

async fn get<S>(stream: S, address: &Address) -> anyhow::Result<http::StatusCode>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(READYZ)
        .header(HOST, address.to_string())
        .body(Body::empty())?;
    Ok(sender.send_request(request).await?.status())
}

/// Trusts the server's own certificate and no other, whatever name is in it: the check asks an address of this machine.
fn trusting(files: &TlsFiles) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let leaf = tls::chain(files)?.swap_remove(0);
    let verifier = OwnCertificate {
        leaf,
        provider: Arc::clone(&provider),
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

#[derive(Debug)]
struct OwnCertificate {
    leaf: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.leaf {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("it shows another certificate".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
