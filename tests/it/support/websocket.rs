//! WebSockets on both sides of the edge, over blocking sockets.

use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::{
    client::Client,
    edge::Edge,
    upstream::{Connection, Upstream},
};

/// An app that sends every message back, and closes when it is asked to.
pub(crate) fn echo() -> Upstream {
    Upstream::script(serve)
}

/// One WebSocket, echoed until it ends.
pub(crate) fn serve(connection: &mut Connection) {
    let Ok(mut socket) = tungstenite::accept(connection) else {
        return;
    };
    while let Ok(message) = socket.read() {
        // A socket that is closing refuses further messages; reading on ends the loop.
        if !message.is_close() {
            drop(socket.send(message));
        }
    }
}

/// An open WebSocket through the edge.
pub(crate) struct Chat(WebSocket<Client>);

impl Chat {
    #[track_caller]
    pub(crate) fn open(edge: &Edge, host: &str) -> Self {
        let (socket, response) =
            tungstenite::client(format!("ws://{host}/chat"), edge.client()).unwrap();
        assert_eq!(response.status(), 101);
        Self(socket)
    }

    /// Sends `text` and expects it back.
    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
        assert_eq!(self.0.read().unwrap(), Message::text(text));
    }

    #[track_caller]
    pub(crate) fn say_bytes(&mut self, bytes: Vec<u8>) {
        self.0.send(Message::binary(bytes.clone())).unwrap();
        assert_eq!(self.0.read().unwrap(), Message::binary(bytes));
    }

    /// Closes as RFC 6455 §7 says, and waits for the other side's close.
    #[track_caller]
    pub(crate) fn close(mut self) {
        self.0.close(None).unwrap();
        while self.0.read().is_ok() {}
    }

    /// Waits until the other side ends the connection.
    pub(crate) fn wait_closed(mut self) {
        while self.0.read().is_ok() {}
    }
}
