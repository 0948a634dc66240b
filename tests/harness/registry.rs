//! docker-registry in an enclosure, over a directory that is laid out as its storage.

use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use crate::{enclosure::Enclosure, engine::HOME, images, wait};

/// A registry; it ends when it is dropped.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    log: PathBuf,
}

impl Registry {
    /// One at 127.0.0.1:5000 with the test images.
    pub fn start(enclosure: &Enclosure) -> Registry {
        Registry::serve(enclosure, 5000, &images::storage())
    }

    /// One at 127.0.0.1:`port` over `storage`, a path that is the same inside and outside.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn serve(enclosure: &Enclosure, port: u16, storage: &Path) -> Registry {
        Registry::with(enclosure, port, storage, "")
    }

    /// The same with TLS; `certificate` is its path below [`HOME`] without `.out`, and that of its key without `.pem`.
    pub fn with_tls(enclosure: &Enclosure, port: u16, storage: &Path, certificate: &str) -> Registry {
        let of = |end: &str| format!("{HOME}/{certificate}{end}");
        let tls = format!(", tls: {{certificate: {}, key: {}}}", of(".out"), of(".pem"));
        Registry::with(enclosure, port, storage, &tls)
    }

    fn with(enclosure: &Enclosure, port: u16, storage: &Path, tls: &str) -> Registry {
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: false}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, maintenance: {{readonly: {{enabled: true}}}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"{tls}}}\n",
            storage.display()
        );
        let name = format!("registry-{port}");
        let home = enclosure.path(HOME);
        std::fs::write(home.join(format!("{name}.yml")), config).expect("config of the registry");
        let log = home.join(format!("{name}.log"));
        let output = std::fs::File::create(&log).expect("log of the registry");
        let mut command = enclosure.command(HOME, "docker-registry");
        command.args(["serve", &format!("{HOME}/{name}.yml")]).stdin(Stdio::null());
        command.stdout(output.try_clone().expect("a descriptor")).stderr(output);
        let process = command.spawn().expect("docker-registry (Debian package docker-registry)");
        let answers = || {
            let mut probe = enclosure.command("/", "bash");
            probe.args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")]).stderr(Stdio::null());
            probe.status().is_ok_and(|status| status.success()).then_some(())
        };
        if wait::within(wait::PATIENCE, answers).is_none() {
            panic!("docker-registry does not listen: {}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        Registry { process, log }
    }

    /// What it was asked so far: one line for each request.
    pub fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains("HTTP/")).map(str::to_owned).collect()
    }

    /// How many requests contain `text`.
    pub fn asked(&self, text: &str) -> usize {
        self.requests().iter().filter(|request| request.contains(text)).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        crate::cli::end(&mut self.process);
    }
}
