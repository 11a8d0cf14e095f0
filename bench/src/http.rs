//! A connection to the API that costs the client little.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

/// One connection, which is kept.
pub(crate) struct Client {
    host: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its errors are those of the requests.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { host: address.to_string(), sender })
    }

    /// Sends a request; an answer that is no success is an error.
    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Incoming> {
        let what = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await.context("the connection")?;
        let response = self.sender.send_request(request).await.with_context(|| what.clone())?;
        let status = response.status();
        let body = response.into_body();
        if !status.is_success() {
            let said = body.collect().await?.to_bytes();
            bail!("{what}: {} {}", StatusCode::as_u16(&status), String::from_utf8_lossy(&said));
        }
        Ok(body)
    }

    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> Result<Bytes> {
        Ok(self.send(Method::POST, path, body).await?.collect().await?.to_bytes())
    }

    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        let body = self.send(Method::GET, path, Bytes::new()).await?.collect().await?.to_bytes();
        serde_json::from_slice(&body).with_context(|| format!("GET {path}"))
    }
}
