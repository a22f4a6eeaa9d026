//! Backbone and Underscore for the page, out of an npm folder of the developer's: nothing third-party is part of this crate.

use std::{
    io,
    path::{Path, PathBuf},
};

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;

use super::http::script;

/// What is served, by the name under `/sync/vendor/`, and where it is in `node_modules`. No other file of the folder is.
const FILES: [(&str, &str); 2] =
    [("backbone.js", "backbone/backbone.js"), ("underscore.js", "underscore/underscore-umd.js")];

/// The routes; they are there without a folder too, to say what is missing.
pub(super) fn router(npm: Option<&Path>) -> Router {
    FILES.into_iter().fold(Router::new(), |router, (name, file)| {
        let npm = npm.map(Path::to_owned);
        router.route(&format!("/sync/vendor/{name}"), get(move || serve(npm.clone(), name, file)))
    })
}

/// Reads at every request: the packages may be installed while the server runs.
async fn serve(npm: Option<PathBuf>, name: &'static str, file: &'static str) -> Response {
    let Some(npm) = npm else { return missing(name, "this server was not told where they are") };
    // File systems block, and only the blocking threads may.
    let read =
        tokio::task::spawn_blocking(move || read(&npm, file)).await.map_err(io::Error::other).flatten();
    match read {
        Ok(source) => script(source).into_response(),
        Err(error) => {
            // Where it was looked for is the server's business.
            tracing::warn!(%error, file, "a script cannot be read from the npm folder");
            missing(name, "they cannot be read from the folder that it was told")
        }
    }
}

/// The folder is what `npm install` was run in, or its `node_modules`.
fn read(npm: &Path, file: &str) -> io::Result<Vec<u8>> {
    match std::fs::read(npm.join("node_modules").join(file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::read(npm.join(file)),
        read => read,
    }
}

fn missing(name: &str, why: &str) -> Response {
    let message = format!(
        "There is no {name} here. It comes from npm packages, and {why}.\n\
         Run `npm install backbone underscore` in a folder DIR and start the server with `--npm DIR`.\n"
    );
    (StatusCode::NOT_FOUND, message).into_response()
}
