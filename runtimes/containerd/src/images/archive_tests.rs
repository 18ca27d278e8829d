//! Archives as Docker and the OCI write them, and such as nobody should.

use std::io::Write;

use serde_json::json;

use super::*;

/// A member of an archive: a file, or a link to another.
enum Member<'a> {
    File(&'a str, Vec<u8>),
    Link(&'a str, &'a str),
}

fn archive(members: &[Member<'_>]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut archive = tar::Builder::new(&mut file);
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        match member {
            Member::File(name, content) => {
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, name, content.as_slice()).unwrap();
            }
            Member::Link(name, target) => {
                header.set_size(0);
                header.set_entry_type(tar::EntryType::Symlink);
                archive.append_link(&mut header, name, target).unwrap();
            }
        }
    }
    archive.finish().unwrap();
    drop(archive);
    file
}

fn configuration(architecture: &str, diff_ids: &[&str]) -> Vec<u8> {
    json!({ "architecture": architecture, "rootfs": { "type": "layers", "diff_ids": diff_ids } })
        .to_string()
        .into_bytes()
}

fn said(members: &[Member<'_>]) -> String {
    read(archive(members).path()).unwrap_err().to_string()
}

#[test]
fn what_docker_save_writes() {
    let manifest = json!([{
        "Config": "c.json",
        "RepoTags": ["sandboxd/x:latest"],
        "Layers": ["a/layer.tar", "b/layer.tar"],
    }]);
    let file = archive(&[
        Member::File("a/layer.tar", b"one".to_vec()),
        // A layer that is there already is a link to it.
        Member::Link("b/layer.tar", "../a/layer.tar"),
        Member::File("c.json", configuration(lookup::ARCHITECTURE, &["sha256:1", "sha256:2"])),
        Member::File("manifest.json", manifest.to_string().into_bytes()),
    ]);
    let bundles = read(file.path()).unwrap();
    let [bundle] = bundles.as_slice() else { panic!("{bundles:?}") };
    assert_eq!(bundle.names, ["sandboxd/x:latest"]);
    assert_eq!(bundle.layers.len(), 2);
    for (layer, digest) in bundle.layers.iter().zip(["sha256:1", "sha256:2"]) {
        assert_eq!((layer.digest.as_str(), layer.diff_id.as_str()), (digest, digest));
        assert_eq!(layer.blob.read(0, 100).unwrap(), b"one");
        assert_eq!(layer.media_type, "application/vnd.oci.image.layer.v1.tar");
    }
}

#[test]
fn a_layout_of_the_oci_through_an_index_of_many_machines() {
    let blob = |content: &[u8]| digest::of(content).replace("sha256:", "blobs/sha256/");
    let layer = [0x1f, 0x8b, 8, 0].to_vec();
    let config = configuration(lookup::ARCHITECTURE, &["sha256:inside"]);
    let manifest = json!({
        "config": { "digest": digest::of(&config) },
        "layers": [{ "digest": digest::of(&layer) }],
    });
    let manifest = manifest.to_string().into_bytes();
    let many = json!({ "manifests": [
        { "digest": "sha256:0", "platform": { "os": "linux", "architecture": "other" } },
        { "digest": digest::of(&manifest), "platform": { "os": "linux", "architecture": lookup::ARCHITECTURE } },
    ]});
    let many = many.to_string().into_bytes();
    let index = json!({ "manifests": [{
        "digest": digest::of(&many),
        "annotations": { "io.containerd.image.name": "docker.io/sandboxd/x:latest" },
    }]});
    let names = [blob(&layer), blob(&config), blob(&manifest), blob(&many)];
    let file = archive(&[
        Member::File(&names[0], layer.clone()),
        Member::File(&names[1], config),
        Member::File(&names[2], manifest),
        Member::File(&names[3], many),
        Member::File("index.json", index.to_string().into_bytes()),
    ]);
    let bundles = read(file.path()).unwrap();
    assert_eq!(bundles[0].names, ["docker.io/sandboxd/x:latest"]);
    assert_eq!(bundles[0].layers[0].digest, digest::of(&layer));
    assert_eq!(bundles[0].layers[0].diff_id, "sha256:inside");
    assert_eq!(bundles[0].layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
}

#[test]
fn what_is_no_archive_of_images_is_told() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[7; 4096]).unwrap();
    assert!(read(file.path()).unwrap_err().to_string().contains("no tar archive"));
    assert!(said(&[]).contains("neither docker save nor"));
    let manifest = |layers: &[&str]| {
        let manifest = json!([{ "Config": "c.json", "RepoTags": ["sandboxd/x:latest"], "Layers": layers }]);
        Member::File("manifest.json", manifest.to_string().into_bytes())
    };
    let fits = |diff_ids: &[&str]| Member::File("c.json", configuration(lookup::ARCHITECTURE, diff_ids));
    assert!(said(&[manifest(&["a"]), fits(&["sha256:1"])]).contains("a is not in it"));
    assert!(said(&[manifest(&["a"]), fits(&[])]).contains("1 layers for 0"));
    assert!(said(&[manifest(&[]), fits(&[])]).contains("0 layers"));
    assert!(said(&[manifest(&["a"])]).contains("c.json is not in it"));
    let other = Member::File("c.json", configuration("vax", &["sha256:1"]));
    assert!(said(&[manifest(&["a"]), other]).contains("sandboxd/x:latest is for \"vax\""));
    // Links in a circle, and one that leads out of the archive.
    let circle = [manifest(&["a"]), fits(&["sha256:1"]), Member::Link("a", "b"), Member::Link("b", "a")];
    assert!(said(&circle).contains("is not in it"));
    let outside = [manifest(&["a"]), fits(&["sha256:1"]), Member::Link("a", "../../etc/passwd")];
    assert!(said(&outside).contains("etc/passwd is not in it"));
}
