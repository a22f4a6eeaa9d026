//! Where a server listens that asks nobody who they are.

use std::process::Command;

use socket2::{Domain, Socket, Type};
use sync_core::{Login, Result, Server, ServerBuilder, Session};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// An address for documentation: no machine has it, so that nothing ever listens there.
const PUBLIC: &str = "192.0.2.1:0";

/// What the program says to a public address, and whether it has made its database. It must not run.
fn run(arguments: &[&str]) -> (String, bool) {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("rows.db");
    let output = Command::new(env!("CARGO_BIN_EXE_sync-test-server"))
        .args(["--listen", PUBLIC, "--store", &format!("sqlite:{}", database.display())])
        .args(arguments)
        .output()
        .unwrap();
    assert!(!output.status.success(), "{output:?}");
    (String::from_utf8(output.stderr).unwrap(), database.exists())
}

#[test]
fn the_command_line_is_refused_and_told_what_to_do() {
    let (said, has_database) = run(&[]);
    assert!(said.contains("will not listen on 192.0.2.1:0: other machines reach it"), "{said}");
    for hint in ["127.0.0.1", "`authenticate`", "`--insecure`", "`insecure()`"] {
        assert!(said.contains(hint), "{hint}: {said}");
    }
    assert!(!has_database);
    // Told so it tries, and this machine does not have the address.
    let (said, _) = run(&["--insecure"]);
    assert!(said.contains("cannot listen on 192.0.2.1:0"), "{said}");
    assert!(!said.contains("will not"), "{said}");
}

/// Bound to all addresses of this machine, and not listening, so that nobody can connect.
fn bound_to_all() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([0, 0, 0, 0], 0)).into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

/// What a server says to a listener that other machines reach; it is stopping already, so that one which would serve returns.
async fn serve(builder: ServerBuilder) -> Result<()> {
    let running = builder.store("memory:").build()?.start().await?;
    running.stop().await;
    running.serve(bound_to_all()).await
}

async fn anyone(_login: Login) -> Result<Session<()>> {
    Ok(Session::new(()))
}

#[tokio::test]
async fn a_listener_of_ones_own_is_refused_too() {
    let builder = || Server::builder().model::<sync_tests::models::Todo>();
    let refused = serve(builder()).await.unwrap_err();
    assert!(format!("{refused:?}").contains("will not listen on 0.0.0.0:"), "{refused:?}");
    serve(builder().insecure()).await.unwrap();
    serve(builder().authenticate(anyone)).await.unwrap();
}
