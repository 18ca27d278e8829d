//! Files on their way in and out.

use super::{
    Verdict,
    toolbox::{Toolbox, equal, file, holds, limits, run_in, told},
};
use crate::{CollectRequest, Collected, Exit, Glob};

pub(super) async fn files_are_put_as_they_are(toolbox: &Toolbox) -> Verdict {
    let binary: Vec<u8> = (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sum: u64 = binary.iter().map(|byte| u64::from(*byte)).sum();
    let mut script = file("tools/run me", "#!/bin/sh\necho ran\n")?;
    script.executable = true;
    let mut sandbox = toolbox.launch().await?;
    let files = vec![file("a/b/c.bin", binary)?, script, file("plain", "text")?, file("empty", "")?];
    sandbox.put(files).await.map_err(told)?;
    let code = "import os, subprocess\ndata = open('a/b/c.bin', 'rb').read()\n\
                print(len(data), sum(data), open('plain').read(), os.path.getsize('empty'))\n\
                print(subprocess.run(['tools/run me'], capture_output=True, text=True).stdout, os.access('plain', os.X_OK))\n\
                print(os.stat('plain').st_uid == os.getuid() == os.stat('a/b').st_uid)\nopen('plain', 'a').write('more')\nos.rename('a', 'z')";
    let ran = run_in(&mut *sandbox, &["python3", "-c", code], &limits()).await;
    sandbox.destroy().await.map_err(told)?;
    let ran = ran?;
    equal(
        "what the program found",
        ran.stdout.as_str(),
        format!("1048576 {sum} text 0\nran\n False\nTrue\n").as_str(),
    )
    .map_err(|error| format!("{error} {}", ran.stderr))
}

pub(super) async fn the_working_directory_and_the_temporary_one_are_writable(toolbox: &Toolbox) -> Verdict {
    let script = "pwd; touch here /box/tmp/there /tmp/everywhere /dev/shm/shared && mkdir deep && echo made; touch /usr/x /etc/x /x 2>/dev/null || echo refused";
    let ran = toolbox.shell(script).await?;
    equal("stdout", ran.stdout.as_str(), "/box/work\nmade\nrefused\n")
        .map_err(|error| format!("{error} {}", ran.stderr))
}

fn request(globs: &[&str]) -> Result<CollectRequest, String> {
    let globs = globs.iter().map(|glob| Glob::parse(glob)).collect::<Result<_, _>>()?;
    Ok(CollectRequest { globs, max_files: 10, max_bytes: 4096, max_entries: 2000 })
}

async fn collect(toolbox: &Toolbox, script: &str, request: &CollectRequest) -> Result<Collected, String> {
    let mut sandbox = toolbox.launch().await?;
    let ran = run_in(&mut *sandbox, &["/bin/sh", "-c", script], &limits()).await;
    let collected = sandbox.collect(request).await;
    sandbox.destroy().await.map_err(told)?;
    equal("exit", ran?.exit, Exit::Code(0))?;
    collected.map_err(told)
}

pub(super) async fn collect_takes_regular_files_only(toolbox: &Toolbox) -> Verdict {
    let script = "mkdir -p d/e; echo one > a.txt; echo two > d/e/b.txt; chmod +x d/e/b.txt; ln -s /etc/passwd s.txt; \
                  ln -s /etc link; echo x > h1.txt; ln h1.txt h2.txt; mkfifo p.txt; exit 0";
    let collected = collect(toolbox, script, &request(&["**/*.txt", "link/*"])?).await?;
    let files: Vec<_> =
        collected.files.iter().map(|file| (file.path.as_str(), &file.content[..], file.executable)).collect();
    equal("files", files, vec![("a.txt", &b"one\n"[..], false), ("d/e/b.txt", b"two\n", true)])?;
    let omitted: Vec<_> = collected.omitted.iter().map(|omitted| omitted.path.as_str()).collect();
    equal("omitted", omitted, vec!["h1.txt", "h2.txt", "p.txt", "s.txt"])
}

pub(super) async fn collect_is_bounded(toolbox: &Toolbox) -> Verdict {
    let many =
        collect(toolbox, "for i in 1 2 3 4 5 6 7 8 9 a b c d e f; do echo > f$i; done", &request(&["*"])?)
            .await?;
    equal("files", many.files.len(), 10)?;
    let large =
        collect(toolbox, "head -c 3000 /dev/zero > a; head -c 3000 /dev/zero > b", &request(&["*"])?).await?;
    equal("files", large.files.len(), 1)?;
    let script =
        "i=0; while [ $i -lt 40 ]; do mkdir d && cd d || exit 0; i=$((i+1)); done; echo deep > f; exit 0";
    let deep = collect(toolbox, script, &request(&["**/f"])?).await?;
    holds("a file came from 40 folders down", deep.files.is_empty())?;
    let wide = "i=0; while [ $i -lt 2500 ]; do : > f$i; i=$((i+1)); done; exit 0";
    collect(toolbox, wide, &request(&["nothing"])?).await.map(drop)
}
