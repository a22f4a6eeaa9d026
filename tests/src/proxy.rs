//! A line that can be bad: a TCP proxy in this process, in front of a server.

use std::{net::SocketAddr, pin::pin, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

/// What the line does with what is sent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It passes it on.
    Pass,
    /// It passes it on a byte at a time, each in a packet of its own.
    Bytes,
    /// What the client sends arrives; what the server sends is not even taken.
    StallDown,
    /// Nothing arrives, in either direction, and nobody is told: the other end looks alive and is gone.
    BlackHole,
    /// After so many bytes more from the client both ends get a reset.
    ResetAfter(usize),
    /// After so many bytes more from the server both ends get a reset.
    ResetDownAfter(usize),
}

/// A proxy, for any number of connections, all of which behave alike.
#[derive(Debug)]
pub struct Proxy {
    /// Where clients connect to.
    pub address: SocketAddr,
    behaviour: watch::Sender<Behaviour>,
    ended: Arc<Semaphore>,
}

impl Proxy {
    /// In front of this server.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (behaviour, watched) = watch::channel(Behaviour::Pass);
        let ended = Arc::new(Semaphore::new(0));
        tokio::spawn({
            let ended = ended.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(line(client, server, watched.clone(), ended.clone()));
                }
            }
        });
        Self { address, behaviour, ended }
    }

    /// From now on, also on open connections.
    pub fn behave(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Waits until the server has hung up on a connection.
    pub async fn hung_up(&self) {
        self.ended.acquire().await.unwrap().forget();
    }
}

/// How a direction came to its end.
enum End {
    Closed,
    Reset,
}

async fn line(
    mut client: TcpStream,
    server: SocketAddr,
    watched: watch::Receiver<Behaviour>,
    ended: Arc<Semaphore>,
) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let mut up = pin!(pass(from_client, to_server, watched.clone(), true));
        let mut down = pin!(pass(from_server, to_client, watched.clone(), false));
        tokio::select! {
            end = &mut up => end,
            end = &mut down => {
                ended.add_permits(1);
                end
            }
        }
    };
    if matches!(end, End::Reset) {
        for stream in [&client, &server] {
            stream.set_zero_linger().unwrap();
        }
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut watched: watch::Receiver<Behaviour>,
    is_up: bool,
) -> End {
    let mut buffer = [0; 4096];
    let mut passed = 0;
    loop {
        let behaviour = *watched.borrow_and_update();
        let most = match (behaviour, is_up) {
            (Behaviour::Bytes, _) => 1,
            (Behaviour::ResetAfter(bytes), true) | (Behaviour::ResetDownAfter(bytes), false) => {
                if passed >= bytes {
                    return End::Reset;
                }
                (bytes - passed).min(buffer.len())
            }
            _ => buffer.len(),
        };
        if behaviour == Behaviour::StallDown && !is_up {
            if watched.changed().await.is_err() {
                return End::Closed;
            }
            continue;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer[..most]) => read,
            changed = watched.changed() => match changed {
                Ok(()) => {
                    passed = 0;
                    continue;
                }
                Err(_) => return End::Closed,
            },
        };
        let Ok(count @ 1..) = read else { return End::Closed };
        if behaviour == Behaviour::BlackHole {
            continue;
        }
        passed += count;
        if to.write_all(&buffer[..count]).await.is_err() {
            return End::Closed;
        }
    }
}
