//! The image of the tests: this host's C library and its loader, so that this host's shell runs in it. Small, and there
//! without any registry.

use std::{collections::BTreeSet, fs, io::Cursor, path::Path};

use bollard::{Docker, body_full, query_parameters::CreateImageOptionsBuilder};
use futures_util::TryStreamExt as _;
use sandboxd_container::backend::image_of;
use tokio::sync::OnceCell;

pub(crate) const EXECUTOR: &str = "engine-test";
/// Debian's, which needs nothing but the C library.
pub(crate) const SHELL: &str = "/bin/dash";

/// Once in a run, and not at all if an earlier one has left it.
pub(crate) async fn make() {
    static MADE: OnceCell<()> = OnceCell::const_new();
    MADE.get_or_init(import).await;
}

async fn import() {
    let docker = Docker::connect_with_unix_defaults().unwrap();
    if docker.inspect_image(&image_of(EXECUTOR)).await.is_ok() {
        return;
    }
    let (name, tag) = image_of(EXECUTOR).split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(&name).tag(&tag).build();
    let body = body_full(root_filesystem().into());
    docker.create_image(Some(options), Some(body), None).try_collect::<Vec<_>>().await.unwrap();
}

fn root_filesystem() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for folder in ["box", ".sandboxd", "proc", "sys", "dev", "etc", "lib", "lib64"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        archive.append_data(&mut header, folder, Cursor::new([])).unwrap();
    }
    // As in every image: temporary files lie on the sandbox's one disk.
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    archive.append_link(&mut link, "tmp", "/box/tmp").unwrap();
    let mut file = |path: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path.trim_start_matches('/'), content).unwrap();
    };
    file(".sandboxd/agent", b"");
    for library in libraries() {
        let content = fs::read(&library).unwrap();
        let name = Path::new(&library).file_name().unwrap().to_str().unwrap();
        file(&library, &content);
        file(&format!("lib/{name}"), &content);
        file(&format!("lib64/{name}"), &content);
    }
    archive.into_inner().unwrap()
}

/// This very test has them in memory.
fn libraries() -> BTreeSet<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let wanted =
        |path: &&str| path.contains("/libc.so") || path.contains("/libc-") || path.contains("/ld-linux");
    paths.filter(wanted).map(str::to_owned).collect()
}
