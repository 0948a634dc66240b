//! `podctl create`, and what `run` shares with it: where a container goes, its image, its bind sources.

use std::os::fd::OwnedFd;

use proto::{
    Id, Kind, Refusal,
    failpoint::{self, Point},
    layout::Target,
    serve::deadline,
    wire::{ContainerAct, ContainerConfig, ContainerCreated, CreateContainer, Mount, PodConfig, PullImage},
};

use crate::{
    args::{
        Action, Args, Command, block,
        container::{self, Place},
        health, network, resources,
    },
    command::{container::needs, image::pull, pod::create::IdFile},
    dial::{ACT, Engine, Found, Shim},
    error::{Failure, Outcome, is_missing, warn},
    output, source,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "create",
    about: "Create but do not start a container",
    description: "Creates a new container from the given image or storage and prepares it for running the specified command.\n\nThe container ID is then printed to stdout. You can then start it at any time with the podctl start <container_id> command. The container will be created with the initial state 'created'.",
    usage: "[options] IMAGE [COMMAND [ARG...]]",
    examples: &["create alpine ls", "create --annotation HELLO=WORLD alpine ls", "create -t -i --name myctr alpine ls"],
    flags: &[
        container::FLAGS,
        health::FLAGS,
        container::CREATE_FLAGS,
        network::FLAGS,
        resources::FLAGS,
        block::FLAGS,
        resources::CONTAINER_FLAGS,
        block::CONTAINER_FLAGS,
        resources::PLACE_FLAGS,
        resources::CREATE_FLAGS,
    ],
    operands: crate::args::Operands::AtLeast(1),
    interspersed: false,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let mut wish = Wish::read(args)?;
    let cidfile = wish.cidfile()?;
    engine.block_on(async {
        let (_shim, created) = wish.create(engine, Until::Created).await?;
        if let Some(file) = cidfile {
            file.write(&created.id)?;
        }
        output::line(&created.id)
    })
}

/// How far a new container is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Its record is there.
    Created,
    /// The runtime has created it: it can be attached to.
    Init,
    /// It runs.
    Started,
}

/// A container that is to be made.
#[derive(Debug)]
pub struct Wish {
    /// What it is.
    pub config: ContainerConfig,
    place: Place,
    replace: bool,
    pull: PullImage,
    quiet: bool,
    /// What `--preserve-fds` passes.
    pub preserved: Vec<OwnedFd>,
    /// What has been started for it, see [`needs`].
    pub met: Vec<String>,
}

impl Wish {
    /// What the arguments of `create` and `run` ask for.
    ///
    /// # Errors
    /// podman's words; nothing has been made.
    pub fn read(args: &Args) -> Result<Wish, Failure> {
        let config = container::config(args)?;
        let place = container::place(args)?;
        let pull = PullImage {
            image: config.image.clone(),
            platform: config.platform.clone(),
            policy: config.pull.clone(),
            tls_verify: args.switch("tls-verify"),
            authfile: args.text_or_empty("authfile").to_owned(),
            ..Default::default()
        };
        let (replace, quiet) = (args.is("replace"), args.is("quiet"));
        Ok(Wish { config, place, replace, pull, quiet, preserved: Vec::new(), met: Vec::new() })
    }

    /// Whether the container gets our own standard streams.
    pub fn passes_through(&self) -> bool {
        self.config.log.as_ref().is_some_and(|log| matches!(log.driver.as_str(), "passthrough" | "passthrough-tty"))
    }

    /// The file the id goes into.
    ///
    /// # Errors
    /// `opening cidfile /x: …`
    pub fn cidfile(&self) -> Result<Option<IdFile>, Failure> {
        let path = &self.config.cidfile;
        if path.is_empty() { Ok(None) } else { IdFile::named("cidfile", path).map(Some) }
    }

    /// Makes the container, with a pod of its own where it joins none, and pulls its image if that is missing. The shim
    /// stays connected, so that it stays.
    ///
    /// # Errors
    /// The engine's refusal; nothing is left then.
    pub async fn create(&mut self, engine: &Engine, until: Until) -> Result<(Shim, ContainerCreated), Failure> {
        self.resolve_references(engine)?;
        let (pod, new_pod) = self.pod(engine)?;
        let mut mounts = new_pod.as_ref().map(|pod| pod.mounts.clone()).unwrap_or_default();
        mounts.extend(self.config.mounts.iter().cloned());
        if !self.config.rootfs.is_empty() {
            // The caller's view of it counts, too; it comes first.
            mounts.insert(
                0,
                Mount { source: self.config.rootfs.clone(), destination: "/".to_owned(), ..Default::default() },
            );
        }
        let mut trees = source::open(&mounts)?;
        let log = source::log_directory(self.config.log.as_ref().map_or("", |log| &log.path))?;
        if self.passes_through() && until != Until::Created {
            trees.get_or_insert_default().extend(source::streams()?);
        }
        if !self.preserved.is_empty() {
            trees.get_or_insert_default().append(&mut self.preserved);
        }
        let mut request = CreateContainer {
            config: Some(self.config.clone()),
            pod: pod.to_string(),
            new_pod,
            start: until == Until::Started,
            init: until == Until::Init,
            replace: self.replace,
            notify_socket: super::ready::notify_socket(),
            ..Default::default()
        };
        let shim = engine.pod(&pod).await?;
        let mut replaced = false;
        loop {
            // Each attempt takes its deposit.
            let deposit = match &trees {
                Some(trees) => Some(source::deposit(&shim, trees).await?),
                None => None,
            };
            let log_deposit = match &log {
                Some(log) => Some(source::deposit(&shim, std::slice::from_ref(log)).await?),
                None => None,
            };
            let token = |deposit: &Option<source::Deposit>| deposit.as_ref().map(|deposit| deposit.token.clone());
            request.source_token = token(&deposit).unwrap_or_default();
            request.log_token = token(&log_deposit).unwrap_or_default();
            failpoint::pass(Point::ClientCreate);
            let failure = match shim.containers().create(deadline(ACT), &request).await {
                Ok(created) => {
                    failpoint::pass(Point::ClientCreated);
                    for warning in &created.warnings {
                        warn(warning);
                    }
                    return Ok((shim, created));
                }
                Err(error) => Failure::from(error),
            };
            if failure.kind == Kind::NameInUse && self.replace && !replaced {
                // Everything else is as it should be: only now does the old one go.
                replace(engine, &self.config.name).await?;
                replaced = true;
                continue;
            }
            if failure.kind == Kind::NeedsContainer {
                needs::meet(engine, failure, &mut self.met).await?;
                request.met.clone_from(&self.met);
                continue;
            }
            if failure.kind != Kind::ImageMissing || request.image_pulled || self.pull.policy == "never" {
                return Err(failure);
            }
            // Everything else has been checked.
            pull::quietly(engine, self.pull.clone(), self.quiet).await?;
            failpoint::pass(Point::ClientPulled);
            request.image_pulled = true;
        }
    }

    /// The pod the container goes to; one that is made with it has an id, too.
    fn pod(&mut self, engine: &Engine) -> Result<(Id, Option<PodConfig>), Failure> {
        let new = |error| Failure::io("choose an id", &error);
        match &self.place {
            Place::Pod(name) => Ok((engine.pod_id(name)?, None)),
            Place::NewPod(name) => {
                // An id that begins so is no name.
                let is_name = engine.roots.names().join(name).symlink_metadata().is_ok();
                if is_name && engine.roots.resolve(name)?.is_some_and(|target| matches!(target, Target::Pod(_))) {
                    let words = format!("adding pod to state: name \"{name}\" is in use: pod already exists");
                    return Err(Refusal::new(Kind::NameInUse, words).into());
                }
                let pod = container::new_pod(Some(name), &mut self.config);
                Ok((Id::random().map_err(new)?, Some(pod)))
            }
            Place::Alone => {
                let pod = container::new_pod(None, &mut self.config);
                Ok((Id::random().map_err(new)?, Some(pod)))
            }
        }
    }

    /// Other containers, whose namespaces or volumes are used, are named by id on the wire.
    fn resolve_references(&mut self, engine: &Engine) -> Result<(), Failure> {
        let config = &mut self.config;
        let mut modes =
            vec![&mut config.pid_mode, &mut config.ipc_mode, &mut config.uts_mode, &mut config.cgroupns_mode];
        if let Some(network) = &mut config.network {
            modes.push(&mut network.mode);
        }
        for mode in modes {
            let Some(name) = mode.strip_prefix("container:") else { continue };
            *mode = format!("container:{}", id_of(engine, name)?);
        }
        for entry in &mut config.requires {
            let (name, condition) = entry.split_once(':').unwrap_or((entry, "started"));
            if !matches!(condition, "started" | "healthy" | "completed") {
                return Err(Failure::invalid(format!(
                    "--requires {entry}: the condition after : must be one of started, healthy or completed"
                )));
            }
            let found = engine.container(name).map_err(|failure| {
                Failure::invalid(format!(
                    "\"{name}\" is not a valid container, cannot be used as a dependency: {failure}"
                ))
            })?;
            *entry = match found {
                Found::Container { id, .. } => format!("{id}:{condition}"),
                Found::Infra(_) => {
                    return Err(Failure::invalid(format!(
                        "--requires {name}: the infra of a pod is always started first: leave it out"
                    )));
                }
            };
        }
        config.volumes_from = source_ids(engine, &config.volumes_from)?;
        Ok(())
    }
}

/// The id a container or infra is known by on the wire: names may change.
fn id_of(engine: &Engine, name: &str) -> Result<String, Failure> {
    match engine.container(name)? {
        Found::Container { id, .. } => Ok(id.to_string()),
        // An infra has names and an id of its own, which are all links to its pod.
        Found::Infra(_) => Ok(name.to_owned()),
    }
}

/// `--volumes-from` with ids for names.
///
/// # Errors
/// podman's words where there is no such container.
pub fn source_ids(engine: &Engine, sources: &[String]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::with_capacity(sources.len());
    for source in sources {
        let (name, options) = source.split_once(':').unwrap_or((source, ""));
        let id = id_of(engine, name).map_err(|failure| {
            failure.within(&format!("invalid value \"{name}\" for --volumes-from, container not found"))
        })?;
        ids.push(if options.is_empty() { id } else { format!("{id}:{options}") });
    }
    Ok(ids)
}

/// Removes the container whose name a new one is to have; it may be in another pod than the new one.
async fn replace(engine: &Engine, name: &str) -> Result<(), Failure> {
    match engine.container(name) {
        Ok(Found::Container { pod, id }) => {
            let act = ContainerAct { container: id.to_string(), force: true, volumes: true, ..Default::default() };
            match engine.pod(&pod).await?.containers().remove(deadline(ACT), &act).await.map_err(Failure::from) {
                Err(failure) if !is_missing(failure.kind) => Err(failure),
                _ => Ok(()),
            }
        }
        // It has gone meanwhile.
        Err(failure) if failure.kind == Kind::NoSuchContainer && engine.roots.resolve(name)?.is_none() => Ok(()),
        Ok(Found::Infra(_)) | Err(_) => Err(Refusal::new(
            Kind::NameInUse,
            format!("name \"{name}\" is in use by a pod: --replace replaces containers, choose another name"),
        )
        .into()),
    }
}
