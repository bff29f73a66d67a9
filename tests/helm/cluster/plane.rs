//! A control plane of Kubernetes without containers: etcd, the API server, its controllers and scheduler, and kwok,
//! which says of each pod that it runs.
//!
//! What admits, validates, rolls out and cleans up is the real thing; only the nodes are not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sidespan_test_support::{Process, Said, eventually, free_port, log_file, run};
use tempfile::TempDir;

use crate::tools::tool;

/// How long one step may take, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// A rollout replaces one pod after the other, each when the one before has been ready for a while.
const ROLLOUT: Duration = Duration::from_secs(180);

/// A running control plane. Dropping it ends its processes.
pub(super) struct Plane {
    directory: TempDir,
    programs: PathBuf,
    processes: Vec<Process>,
}

impl Plane {
    /// Starts a control plane with two nodes, from the programs that `tests/run helm --cluster` has built.
    pub(super) async fn start() -> Self {
        let built = PathBuf::from(std::env::var_os("SIDESPAN_CLUSTER").expect("tests/run helm --cluster"));
        let (programs, stages) = (built.join("bin"), built.join("stages.yaml"));
        let mut plane = Self { directory: tempfile::tempdir().unwrap(), programs, processes: Vec::new() };
        let [store, peer, api, controllers, scheduler, nodes] = std::array::from_fn(|_| free_port());
        let (store, peer) = (format!("http://127.0.0.1:{store}"), format!("http://127.0.0.1:{peer}"));
        plane.write_keys(api).await;

        plane.begin(
            "etcd",
            &[
                "--data-dir=etcd",
                &format!("--listen-client-urls={store}"),
                &format!("--advertise-client-urls={store}"),
                &format!("--listen-peer-urls={peer}"),
                &format!("--initial-advertise-peer-urls={peer}"),
                &format!("--initial-cluster=default={peer}"),
            ],
        );
        plane.begin(
            "kube-apiserver",
            &[
                &format!("--etcd-servers={store}"),
                "--bind-address=127.0.0.1",
                &format!("--secure-port={api}"),
                "--cert-dir=certificates",
                "--endpoint-reconciler-type=none",
                "--authorization-mode=RBAC",
                "--token-auth-file=tokens.csv",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-account-key-file=accounts.pem",
                "--service-account-signing-key-file=accounts.pem",
                "--service-cluster-ip-range=10.96.0.0/16",
            ],
        );
        eventually(PATIENCE, "the API server is ready", async || {
            plane.kubectl(&["get", "--raw", "/readyz"]).await.success
        })
        .await;
        plane.begin(
            "kube-controller-manager",
            &[
                "--kubeconfig=kubeconfig",
                "--leader-elect=false",
                &format!("--secure-port={controllers}"),
                "--cert-dir=certificates",
                "--service-account-private-key-file=accounts.pem",
                "--use-service-account-credentials=false",
            ],
        );
        plane.begin(
            "kube-scheduler",
            &[
                "--kubeconfig=kubeconfig",
                "--leader-elect=false",
                &format!("--secure-port={scheduler}"),
                "--cert-dir=certificates",
            ],
        );
        plane.begin(
            "kwok",
            &[
                "--kubeconfig=kubeconfig",
                &format!("--config={}", stages.display()),
                "--manage-all-nodes=true",
                &format!("--server-address=127.0.0.1:{nodes}"),
                "--node-port=0",
            ],
        );
        plane.apply(NODES).await;
        plane
            .until(
                "the nodes are ready",
                &["wait", "nodes", "--all", "--for=condition=Ready", "--timeout=60s"],
            )
            .await;
        plane
    }

    /// Runs `kubectl` with these arguments.
    pub(super) async fn kubectl(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(self.programs.join("kubectl"));
        command.current_dir(self.directory.path()).arg("--kubeconfig=kubeconfig").args(arguments);
        run("kubectl", &command, PATIENCE).await
    }

    /// Runs `helm` with these arguments, in a namespace.
    pub(super) async fn helm(&self, namespace: &str, arguments: &[&str]) -> Said {
        let mut command = Command::new(tool("helm"));
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("KUBECONFIG", self.directory.path().join("kubeconfig"));
        command.arg("--namespace").arg(namespace).args(arguments);
        run("helm", &command, ROLLOUT).await
    }

    /// Creates what manifests say, and fails where the API server refuses one.
    pub(super) async fn apply(&self, manifests: &str) {
        let said = self.try_to_apply(manifests).await;
        assert!(said.success, "{}{}", said.output, said.errors);
    }

    /// Asks for what manifests say.
    pub(super) async fn try_to_apply(&self, manifests: &str) -> Said {
        fs::write(self.directory.path().join("manifests.yaml"), manifests).unwrap();
        self.kubectl(&["apply", "-f", "manifests.yaml"]).await
    }

    /// Waits until a `kubectl` succeeds.
    pub(super) async fn until(&self, what: &str, arguments: &[&str]) {
        eventually(PATIENCE, what, async || self.kubectl(arguments).await.success).await;
    }

    /// Returns where a test may put files for `helm` and `kubectl`.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn begin(&mut self, program: &str, arguments: &[&str]) {
        let path = self.programs.join(program);
        // etcd is the system's.
        let mut command = Command::new(if path.exists() { path } else { program.into() });
        command.current_dir(self.directory.path()).args(arguments);
        let log = File::create(log_file(program)).unwrap();
        let process = Process::start(&command, log.try_clone().unwrap(), log, self.directory.path()).unwrap();
        self.processes.push(process);
    }

    async fn write_keys(&self, api: u16) {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(self.directory.path()).args(["genrsa", "-out", "accounts.pem", "2048"]);
        let said = run("openssl", &openssl, PATIENCE).await;
        assert!(said.success, "{}", said.errors);
        let place = |name: &str| self.directory.path().join(name);
        fs::write(place("tokens.csv"), "operator,operator,operator,system:masters\n").unwrap();
        fs::write(
            place("kubeconfig"),
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
                 clusters: [{{ name: here, cluster: {{ server: 'https://127.0.0.1:{api}', insecure-skip-tls-verify: true }} }}]\n\
                 users: [{{ name: operator, user: {{ token: operator }} }}]\n\
                 contexts: [{{ name: here, context: {{ cluster: here, user: operator }} }}]\n"
            ),
        )
        .unwrap();
    }
}

/// Two nodes with room, which kwok answers for.
const NODES: &str = "\
apiVersion: v1
kind: Node
metadata: { name: one, labels: { kubernetes.io/hostname: one, topology.kubernetes.io/zone: a } }
status: { allocatable: { cpu: 32, memory: 256Gi, pods: 110 }, capacity: { cpu: 32, memory: 256Gi, pods: 110 } }
---
apiVersion: v1
kind: Node
metadata: { name: two, labels: { kubernetes.io/hostname: two, topology.kubernetes.io/zone: b } }
status: { allocatable: { cpu: 32, memory: 256Gi, pods: 110 }, capacity: { cpu: 32, memory: 256Gi, pods: 110 } }
";
