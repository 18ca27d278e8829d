//! Where a daemon's containers are made, kept ready and removed.
//!
//! ```text
//!            make ──> ready, on a shelf ──take──> in use ──remove──> gone
//!              │            └ its line was lost: removed              │ failed: again after a pause
//!              └ on any error nothing is left                         v
//!                                              what is ours and unknown here is removed at the next look
//! ```
//!
//! Making and removing happen in tasks of their own, so that whoever gives up on one leaves no half of it. Deliberately
//! absent: how an engine does it.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sandboxd_contract::{Demand, KernelLimits, Result, RuntimeError, SandboxSpec, Stock, Swept};
use tokio::{
    runtime::Handle as Tokio,
    sync::{OnceCell, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backend::{Backend, ContainerSpec, Examined, Leftover, new_name},
    cell::Cell,
    handover::handover,
    line::Line,
    meter::Meter,
    owner::Owner,
    shelves::{Key, ReadyPolicy, Shelves},
};

/// Containers that are being made at once: one for each CPU, within these. An engine makes more of them no faster.
const MAKERS: std::ops::RangeInclusive<usize> = 2..=8;
/// What was taken is replaced this much later, so that the making does not run beside a short program.
const REFILL_DELAY: Duration = Duration::from_millis(150);
/// An engine starts no container in less; the program's own limit is installed before its start.
const LEAST_MEMORY_BYTES: u64 = 64 << 20;
const GVISOR_MEMORY_BYTES: u64 = 128 << 20;

const BURY_ATTEMPTS: u32 = 8;
const BURY_FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How often the engine is searched for what is ours and unknown here.
const TEND_INTERVAL: Duration = Duration::from_secs(60);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Yard {
    backend: Arc<dyn Backend>,
    owner: Owner,
    agent: PathBuf,
    start_timeout: Duration,
    makers: Semaphore,
    /// Passed before a maker is waited for by whoever makes ahead, who get half of them: who needs one now finds a maker
    /// free, or waits with others like it.
    ahead: Semaphore,
    /// The names of all containers that are made, ready, in use or being removed.
    live: Mutex<HashSet<String>>,
    shelves: Shelves,
    stock: Arc<Stock>,
    examined: Mutex<Option<Examined>>,
    /// Done once per daemon, as soon as the engine answers.
    swept: OnceCell<Swept>,
    tasks: TaskTracker,
    closed: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Yard {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        owner: Owner,
        agent: PathBuf,
        policy: ReadyPolicy,
        start_timeout: Duration,
        stock: Arc<Stock>,
    ) -> Arc<Self> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let makers = cpus.clamp(*MAKERS.start(), *MAKERS.end());
        Arc::new(Self {
            backend,
            owner,
            agent,
            start_timeout,
            makers: Semaphore::new(makers),
            ahead: Semaphore::new(makers / 2),
            live: Mutex::default(),
            shelves: Shelves::new(policy, Arc::clone(&stock)),
            stock,
            examined: Mutex::default(),
            swept: OnceCell::new(),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        })
    }

    /// Asks the engine anew what it is.
    ///
    /// # Errors
    /// Why it can't be reached, in one sentence.
    pub(crate) async fn examine(&self) -> std::result::Result<Examined, String> {
        let examined = self.backend.examine().await?;
        *lock(&self.examined) = Some(examined.clone());
        Ok(examined)
    }

    pub(crate) fn owner(&self) -> &str {
        &self.owner.name
    }

    /// How many stand ready.
    pub(crate) fn ready(&self) -> usize {
        self.shelves.ready()
    }

    /// One that is ready, or one that is made now.
    ///
    /// # Errors
    /// The engine's; nothing is left then.
    pub(crate) async fn take(self: &Arc<Self>, spec: &SandboxSpec) -> Result<Arc<Cell>> {
        let (found, lost) = self.shelves.take(spec);
        for cell in lost {
            self.bury(cell);
        }
        let cell = match found {
            Some(cell) => {
                self.stock.took_ready();
                cell
            }
            None => {
                // Starting an interpreter ahead takes as long as starting it.
                let made = self.make(&SandboxSpec { prestart: None, ..spec.clone() }).await?;
                self.stock.took_cold();
                made
            }
        };
        if spec.demand != Demand::Once && self.shelves.keep_any() {
            self.refill_later(Key::of(spec));
        }
        Ok(cell)
    }

    fn refill_later(self: &Arc<Self>, key: Key) {
        let yard = Arc::clone(self);
        self.tasks.spawn(async move {
            if yard.closed.run_until_cancelled(sleep(REFILL_DELAY)).await.is_some() {
                yard.refill(&key).await;
            }
        });
    }

    /// Makes what is missing on a shelf, one after the other.
    async fn refill(self: &Arc<Self>, key: &Key) {
        loop {
            let Ok(_turn) = self.ahead.acquire().await else { return };
            let (spec, given_up) = self.shelves.begin(key);
            for cell in given_up {
                self.bury(cell);
            }
            let Some(spec) = spec else { return };
            let (making, began) = (self.stock.making(), Instant::now());
            let made = self.closed.run_until_cancelled(self.make(&spec)).await;
            drop(making);
            let took = matches!(made, Some(Ok(_))).then(|| REFILL_DELAY + began.elapsed());
            self.shelves.end(key, took);
            match made {
                Some(Ok(cell)) => self.shelve(key, cell),
                Some(Err(error)) => {
                    tracing::warn!(executor = key.executor, %error, "no sandbox could be made ahead");
                    return;
                }
                None => return,
            }
        }
    }

    fn shelve(self: &Arc<Self>, key: &Key, cell: Arc<Cell>) {
        if let Some(unwanted) = self.shelves.put(key, cell) {
            self.bury(unwanted);
        }
    }

    /// Takes back what nothing was ever started or put in: it is as good as new.
    pub(crate) fn give_back(self: &Arc<Self>, spec: &SandboxSpec, cell: Arc<Cell>) {
        let (yard, spec) = (Arc::clone(self), spec.clone());
        let Ok(tokio) = Tokio::try_current() else { return };
        let give_back = async move {
            if let Some(prestart) = spec.prestart.as_ref().filter(|_| !cell.is_taken())
                && let Err(error) = cell.prestart(prestart, yard.start_timeout).await
            {
                tracing::warn!(executor = spec.executor, %error, "no interpreter could be started ahead");
                return yard.bury(cell);
            }
            yard.shelve(&Key::of(&spec), cell);
        };
        self.tasks.spawn_on(give_back, &tokio);
    }

    /// Makes a container and waits until its agent is ready.
    ///
    /// # Errors
    /// The engine's; nothing is left then.
    pub(crate) async fn make(self: &Arc<Self>, spec: &SandboxSpec) -> Result<Arc<Cell>> {
        // Who asked may have given up meanwhile: the next one will be glad of it.
        let (yard, key) = (Arc::clone(self), Key::of(spec));
        let (giver, taker) = handover(move |cell: Result<Arc<Cell>>| {
            if let Ok(cell) = cell {
                yard.shelve(&key, cell);
            }
        });
        let (yard, spec) = (Arc::clone(self), spec.clone());
        self.tasks.spawn(async move {
            let mut cell = yard.make_now(&spec).await;
            if let (Err(error @ RuntimeError::NotStarted { .. }), Some(_)) = (&cell, &spec.prestart) {
                tracing::warn!(executor = spec.executor, %error, "the interpreter does not wait for its program");
                cell = yard.make_now(&SandboxSpec { prestart: None, ..spec.clone() }).await;
            }
            giver.give(cell);
        });
        taker
            .take()
            .await
            .unwrap_or_else(|| Err(RuntimeError::sandbox("make a container", "it was given up")))
    }

    async fn make_now(self: &Arc<Self>, asked: &SandboxSpec) -> Result<Arc<Cell>> {
        if self.closed.is_cancelled() {
            return Err(RuntimeError::unavailable("the runtime is shutting down"));
        }
        let _maker = self.makers.acquire().await.map_err(RuntimeError::unavailable)?;
        self.sweep().await?;
        let known = lock(&self.examined).clone();
        let examined = match known {
            Some(examined) => examined,
            None => self.examine().await.map_err(RuntimeError::unavailable)?,
        };
        let least = if examined.gvisor { GVISOR_MEMORY_BYTES } else { LEAST_MEMORY_BYTES };
        let limits = KernelLimits { memory_bytes: asked.limits.memory_bytes.max(least), ..asked.limits };
        let name = new_name();
        let spec = ContainerSpec {
            name: name.clone(),
            owner: self.owner.name.clone(),
            executor: asked.executor.clone(),
            limits,
            agent: self.agent.clone(),
        };
        lock(&self.live).insert(name.clone());
        let container = match self.backend.create(&spec).await {
            Ok(container) => container,
            Err(error) => {
                lock(&self.live).remove(&name);
                return Err(error);
            }
        };
        let line = Line::open(container.stdin, container.stdout);
        let patience = self.start_timeout;
        let too_late = |_| Err(format!("it is not ready after {} ms", patience.as_millis()));
        let ready = timeout(patience, line.ready()).await.unwrap_or_else(too_late);
        let meter = Meter::of(Arc::clone(&container.handle), container.pid, examined.gvisor, &limits);
        let cell = Cell::new(name, container.handle, line, meter, examined.gvisor, limits);
        let ready = match (ready, &asked.prestart) {
            (Ok(()), Some(prestart)) => cell.prestart(prestart, patience).await,
            (ready, _) => ready.map_err(|reason| RuntimeError::sandbox("make a container", reason)),
        };
        let cell = Arc::new(cell);
        if let Err(error) = ready {
            self.bury(cell);
            return Err(error);
        }
        Ok(cell)
    }

    /// Removes a container; idempotent.
    ///
    /// # Errors
    /// The engine's; it stays known, so that it can be tried again.
    pub(crate) async fn remove(&self, cell: &Cell) -> Result<()> {
        cell.remove().await?;
        lock(&self.live).remove(&cell.name);
        Ok(())
    }

    /// Removes a container in a task of its own, trying again for a while; after that it is no longer known here, so
    /// that the next look at the engine finds it.
    pub(crate) fn bury(self: &Arc<Self>, cell: Arc<Cell>) {
        let yard = Arc::clone(self);
        let Ok(tokio) = Tokio::try_current() else { return };
        self.tasks.spawn_on(
            async move {
                let mut pause = BURY_FIRST_PAUSE;
                for _ in 0..BURY_ATTEMPTS {
                    let Err(error) = yard.remove(&cell).await else { return };
                    tracing::warn!(sandbox = cell.name, %error, "a container was not removed");
                    sleep(pause).await;
                    pause *= 2;
                }
                lock(&yard.live).remove(&cell.name);
            },
            &tokio,
        );
    }

    /// Removes what dead daemons left, once; what would not go is left to [`Self::tend`], so that it holds up nothing.
    ///
    /// # Errors
    /// When the engine does not answer: the next call tries again.
    pub(crate) async fn sweep(&self) -> Result<Swept> {
        self.swept.get_or_try_init(|| self.remove_leftovers(|_, _| false)).await.copied()
    }

    /// Removes what is of dead daemons or nobody's, and whatever else is condemned.
    async fn remove_leftovers(&self, condemned: impl Fn(&str, &str) -> bool) -> Result<Swept> {
        // Taken first: who dies after this may not be among what is listed.
        let dead = self.owner.the_dead();
        let mut swept = Swept::default();
        let mut stays = false;
        for leftover in self.backend.list().await? {
            let Leftover { owner, sandbox, handle } = leftover;
            if owner.is_some_and(|owner| !(dead.contains(&owner) || condemned(&owner, &sandbox))) {
                continue;
            }
            match handle.remove().await {
                Ok(()) => swept.sandboxes += 1,
                Err(error) => {
                    tracing::warn!(sandbox, %error, "what was left over was not removed");
                    stays = true;
                }
            }
        }
        if !stays {
            self.owner.forget(&dead);
        }
        Ok(swept)
    }

    /// Looks at the engine from time to time for containers of the dead, and of ours that got away: a call that was given
    /// up on may have been done all the same. Ends with the yard.
    pub(crate) fn tend(self: &Arc<Self>) {
        let yard = Arc::clone(self);
        self.tasks.spawn(async move {
            while yard.closed.run_until_cancelled(sleep(TEND_INTERVAL)).await.is_some() {
                let stray = |owner: &str, sandbox: &str| {
                    owner == yard.owner.name && !lock(&yard.live).contains(sandbox)
                };
                for cell in yard.shelves.clear_idle() {
                    yard.bury(cell);
                }
                match yard.remove_leftovers(stray).await {
                    Ok(Swept { sandboxes: 0, .. }) => {}
                    Ok(Swept { sandboxes, .. }) => tracing::warn!(sandboxes, "removed what had got away"),
                    Err(error) => tracing::debug!(%error, "could not look for what got away"),
                }
            }
        });
    }

    /// Ends everything and removes all that is ours.
    ///
    /// # Errors
    /// When something is left.
    pub(crate) async fn close(self: &Arc<Self>) -> Result<()> {
        self.closed.cancel();
        for cell in self.shelves.close() {
            self.bury(cell);
        }
        self.tasks.close();
        // What is late is found by name below.
        let late = timeout(SHUTDOWN_TIMEOUT, self.tasks.wait()).await.is_err();
        if self.swept.initialized() {
            self.remove_leftovers(|owner, _| owner == self.owner.name).await?;
        }
        if late {
            // What is still being made comes after the look above: by our name, which stays, the next daemon finds it.
            return Err(RuntimeError::sandbox("close", "an engine was still making or removing a container"));
        }
        self.owner.resign().map_err(|error| RuntimeError::sandbox("remove the owner's file", error))
    }
}
