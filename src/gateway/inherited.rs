//! Listening sockets that a service manager holds and hands over (`LISTEN_FDS`, `LISTEN_PID`): they outlive this process, so that
//! connections which come during a restart wait in their backlog instead of being refused.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use tokio::net::TcpListener as Listening;

use super::running::StartError;

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    /// Takes what was handed over, and the variables that say so out of the environment: neither a second call nor a child gets
    /// it again. To be called before there are threads, which may read the environment.
    ///
    /// # Errors
    /// [`StartError::Inherited`] if one of them is nothing to accept connections on.
    pub fn take() -> Result<Self, StartError> {
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for n in 0..handed.len() {
            let unusable = |cause: String| StartError::Inherited(format!("the {}. socket that was handed over {cause}", n + 1));
            let socket = handed.take_tcp_listener(n).map_err(|error| unusable(format!("is none for TCP: {error}")))?;
            if let Some(socket) = socket {
                sockets.push(listening(socket).map_err(|cause| unusable(cause.to_owned()))?);
            }
        }
        Ok(Self(sockets))
    }

    /// The one that listens on exactly this address; it is given away.
    pub(super) fn at(&mut self, address: SocketAddr) -> Option<std::io::Result<Listening>> {
        let place = self.0.iter().position(|(at, _)| *at == address)?;
        let (_, socket) = self.0.swap_remove(place);
        Some(socket.set_nonblocking(true).and_then(|()| Listening::from_std(socket)))
    }

    /// All must have been wanted: on one that is left, connections would wait for ever.
    pub(super) fn none_is_left(&self) -> Result<(), StartError> {
        let left: Vec<String> = self.0.iter().map(|(address, _)| format!("`{address}`")).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(StartError::Inherited(format!(
            "no listener of the configuration has the address of the socket that was handed over for {}; let `ListenStream=` and `address` agree",
            left.join(", ")
        )))
    }
}

fn listening(socket: TcpListener) -> Result<(SocketAddr, TcpListener), &'static str> {
    let address = socket.local_addr().map_err(|_nameless| "has no address")?;
    // A connection that was accepted already has a peer.
    let socket = TcpStream::from(OwnedFd::from(socket));
    if socket.peer_addr().is_ok() {
        return Err("is a connection, not a listening socket; leave out `Accept=yes`");
    }
    Ok((address, TcpListener::from(OwnedFd::from(socket))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> (SocketAddr, TcpListener) {
        listening(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
    }

    #[test]
    fn a_connection_is_no_listening_socket() {
        let (address, socket) = held();
        let client = TcpStream::connect(address).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        let why = listening(TcpListener::from(OwnedFd::from(accepted))).unwrap_err();
        assert!(why.contains("Accept=yes"), "{why}");
        drop(client);
    }

    #[tokio::test]
    async fn each_socket_is_given_once_and_none_may_be_left() {
        let (first, second) = (held(), held());
        let at = [first.0, second.0];
        let mut inherited = Inherited(vec![first, second]);
        assert!(inherited.at("127.0.0.1:1".parse().unwrap()).is_none());
        assert_eq!(inherited.at(at[0]).unwrap().unwrap().local_addr().unwrap(), at[0]);
        assert!(inherited.at(at[0]).is_none(), "it was given away");
        let why = inherited.none_is_left().unwrap_err().to_string();
        assert!(why.contains(&at[1].to_string()) && !why.contains(&at[0].to_string()), "{why}");
        assert!(inherited.at(at[1]).is_some());
        inherited.none_is_left().unwrap();
    }
}
