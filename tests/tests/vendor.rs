//! Backbone and Underscore for the page, out of a folder that npm filled.

use std::{fs, path::Path};

use sync_core::{Running, Server};
use sync_tests::{ServerProcess, http::get};
use tokio::net::TcpListener;

const PATHS: [&str; 2] = ["/sync/vendor/backbone.js", "/sync/vendor/underscore.js"];

/// What npm leaves there, and a file that is nobody's business.
fn install(folder: &Path) {
    for (file, source) in [
        ("backbone/backbone.js", "// it is Backbone"),
        ("backbone/package.json", "secret"),
        ("underscore/underscore-umd.js", "// it is Underscore"),
        ("underscore/underscore.js", "secret"),
    ] {
        let file = folder.join("node_modules").join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, source).unwrap();
    }
    fs::write(folder.join("backbone.js"), "secret").unwrap();
}

async fn serve(npm: Option<&Path>) -> (std::net::SocketAddr, Running) {
    let builder = Server::builder().store("memory:");
    let builder = match npm {
        Some(npm) => builder.npm(npm),
        None => builder,
    };
    let running = builder.build().unwrap().start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn({
        let running = running.clone();
        async move { running.serve(listener).await.unwrap() }
    });
    (address, running)
}

#[tokio::test]
async fn the_packages_are_served_from_either_folder() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path());
    for npm in [folder.path().to_owned(), folder.path().join("node_modules")] {
        let (address, running) = serve(Some(&npm)).await;
        for (path, source) in PATHS.into_iter().zip(["// it is Backbone", "// it is Underscore"]) {
            let (status, answer) = get(address, path, "").await;
            assert_eq!(status, 200);
            for line in ["content-type: text/javascript; charset=utf-8", "cache-control: no-cache", source] {
                assert!(answer.lines().any(|found| found == line), "{line}: {answer}");
            }
        }
        running.stop().await;
    }
}

#[tokio::test]
async fn nothing_else_of_the_folder_is_served() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path());
    let (address, running) = serve(Some(folder.path())).await;
    for path in [
        "/sync/vendor/",
        "/sync/vendor/package.json",
        "/sync/vendor/underscore-umd.js",
        "/sync/vendor/backbone/package.json",
        "/sync/vendor/../vendor/backbone.js",
        "/sync/vendor/..%2fbackbone.js",
        "/sync/vendor/backbone.js/../package.json",
        "/node_modules/backbone/package.json",
    ] {
        let (status, answer) = get(address, path, "").await;
        assert_eq!(status, 404, "{path}");
        assert!(!answer.contains("secret") && !answer.contains("it is"), "{path}: {answer}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_missing_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let (told, first) = serve(Some(folder.path())).await;
    let (untold, second) = serve(None).await;
    for address in [told, untold] {
        for path in PATHS {
            let (status, answer) = get(address, path, "").await;
            assert_eq!(status, 404);
            assert!(answer.contains("content-type: text/plain"), "{answer}");
            assert!(answer.contains("`npm install backbone underscore` in a folder DIR"), "{answer}");
            assert!(answer.contains("`--npm DIR`"), "{answer}");
            assert!(!answer.contains(folder.path().to_str().unwrap()), "{answer}");
        }
    }
    // Installed while the server runs.
    install(folder.path());
    assert_eq!(get(told, PATHS[0], "").await.0, 200);
    assert_eq!(get(untold, PATHS[0], "").await.0, 404);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn the_command_line_names_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path());
    let program = env!("CARGO_BIN_EXE_sync-test-server");
    let arguments = ["--npm".as_ref(), folder.path().as_os_str()];
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = ServerProcess::start_with(program, listen, &folder.path().join("npm.db"), &arguments);
    assert_eq!(get(server.address, PATHS[1], "").await.0, 200);
}
