//! Bytes on a connection, for what no HTTP client would send, or wait for.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::patience::{PATIENCE, ends};

/// The address of `http://address`.
pub(crate) fn address(url: &str) -> SocketAddr {
    url.split_once("://").unwrap().1.parse().unwrap()
}

/// A connection.
pub(crate) struct Wire(pub(crate) TcpStream);

/// An answer as it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Everything, the body included.
    pub(crate) text: String,
}

impl Answer {
    /// The JSON behind the head.
    pub(crate) fn json(&self) -> Value {
        let body = self.text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{self:?}")).1;
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Wire {
    /// Connects.
    pub(crate) async fn to(url: &str) -> Wire {
        Wire(TcpStream::connect(address(url)).await.unwrap())
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Everything until the other side closes the connection, which it must.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await;
        // a reset ends an answer as a close does
        assert!(read.is_ok(), "not closed after {:?}", String::from_utf8_lossy(&bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The one answer of a connection that is closed after it.
    pub(crate) async fn last_answer(&mut self) -> Answer {
        let text = self.rest().await;
        let status = text.get(9..12).and_then(|status| status.parse().ok());
        Answer { status: status.unwrap_or_else(|| panic!("no answer: {text:?}")), text }
    }

    /// One answer with a length.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut text = Vec::new();
        let read = async {
            while !text.ends_with(b"\r\n\r\n") {
                text.push(self.0.read_u8().await.unwrap());
            }
            let head = String::from_utf8_lossy(&text).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            self.0.read_exact(&mut body).await.unwrap();
            text.extend(body);
        };
        ends("an answer", read).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        Answer { status: text[9..12].parse().unwrap(), text }
    }
}

/// Sends and reads until the other side closes.
pub(crate) async fn ask(url: &str, bytes: impl AsRef<[u8]>) -> Answer {
    let mut wire = Wire::to(url).await;
    wire.send(bytes).await;
    wire.last_answer().await
}
