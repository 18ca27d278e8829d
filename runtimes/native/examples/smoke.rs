//! Runs a command in a native sandbox: `smoke python3 -c 'print(1)'`.
use sandboxd_contract::*;
use tokio::io::AsyncReadExt;

fn main() {
    sandboxd_native::become_spawner_if_asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let limits = KernelLimits {
        memory_bytes: 256 << 20,
        tasks: 64,
        cpu_millis: None,
        open_files: 256,
        file_size_bytes: 64 << 20,
        disk_bytes: 256 << 20,
        stack_bytes: 64 << 20,
    };
    let native = sandboxd_native::NativeRuntime::start(
        "native",
        sandboxd_native::NativeConfig {
            lanes: 4,
            rootfs: None,
            toolchains: None,
            uid_base: sandboxd_native::DEFAULT_UID_BASE,
            allow_missing: vec![],
            expected: limits,
        },
    )
    .unwrap();
    println!("{:?}", native.sweep().await);
    println!("{:#?}", native.probe().await);
    let argv: Vec<String> = std::env::args().skip(1).collect();
    let n: usize = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut times = vec![];
    for i in 0..n {
        let began = std::time::Instant::now();
        let mut sandbox = native.launch(&SandboxSpec { executor: "x".into(), limits }).await.unwrap();
        let launched = began.elapsed();
        let started = sandbox
            .start(
                Command { argv: argv.clone(), env: vec![("PATH".into(), "/usr/bin:/bin".into())] },
                &limits,
            )
            .await;
        let mut started = match started {
            Ok(s) => s,
            Err(e) => {
                println!("{e}");
                sandbox.destroy().await.unwrap();
                break;
            }
        };
        let begun = began.elapsed();
        drop(started.stdin);
        let (mut out, mut err) = (vec![], vec![]);
        let (_, _, exit) = tokio::join!(
            started.stdout.read_to_end(&mut out),
            started.stderr.read_to_end(&mut err),
            started.process.wait()
        );
        let ended = began.elapsed();
        let facts = sandbox.facts().await.unwrap();
        sandbox.destroy().await.unwrap();
        let destroyed = began.elapsed();
        times.push(ended);
        if i + 1 == n {
            println!(
                "{}{}\n{exit:?} {facts:?}\nlaunch {launched:?} start {begun:?} end {ended:?} destroy {destroyed:?}",
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(&err)
            );
        }
    }
    times.sort();
    if n > 1 {
        println!("p50 {:?}", times[n / 2]);
    }
    native.shutdown().await.unwrap();
}
