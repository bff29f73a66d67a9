//! Wrong values are refused, in words that say what is wrong and what to set.

use crate::cases::Case;

#[test]
fn wrong_values_are_refused_with_what_to_set() {
    for (case, set, said) in GATEWAY {
        refused("sidespan", case, set, said);
    }
    for (case, set, said) in SIDECAR {
        refused("sidespan-sidecar", case, set, said);
    }
}

#[track_caller]
fn refused(chart: &'static str, case: &str, set: &str, said: &str) {
    let done = Case::named(chart, case).try_render(&["--set-json", set]);
    assert!(!done.succeeded, "{chart} {case} {set} is taken");
    assert!(done.stderr.contains(said), "{chart} {case} {set}: {}\nwithout: {said}", done.stderr);
}

/// A case, what is wrong in it, and what is said.
type Refusal = (&'static str, &'static str, &'static str);

const GATEWAY: &[Refusal] = &[
    // The embedded log.
    (
        "embedded",
        "replicaCount=3",
        "at '/replicaCount': value must be one of 0, 1, 'one: an embedded log has one owner",
    ),
    ("embedded", "hpa.enabled=true", "at '/hpa/enabled': value must be one of false, 'one: an embedded log"),
    (
        "embedded",
        "keda.enabled=true",
        "at '/keda/enabled': value must be one of false, 'one: an embedded log",
    ),
    (
        "embedded",
        "persistence.enabled=false",
        "'persistent: an embedded log keeps its messages there. Where they may go",
    ),
    ("embedded", "ephemeral=true", "'off: ephemeral says that messages may go with the pod'"),
    ("embedded", "config.file.bridges.local.dir=\"/data\"", "the volume is at /var/lib/sidespan: name that"),
    // Scaling.
    (
        "fleet",
        "config.file.subscriptions.billing.order=\"key\"",
        "keda.lag names billing, which is ordered (order: key) on amqp: one pod is active there",
    ),
    ("fleet", "keda.lag=[]", "keda.lag names no subscription to scale by"),
    (
        "fleet",
        "keda.lag=[{\"subscription\":\"biling\",\"messages\":1}]",
        "keda.lag names biling, and config.file",
    ),
    ("fleet", "keda.lag=[{\"subscription\":\"billing\"}]", "at '/keda/lag/0': missing property 'messages'"),
    ("fleet", "keda.minReplicas=0", "at '/keda/minReplicas': minimum: got 0, want 1"),
    ("fleet", "hpa.enabled=true", "hpa.enabled and keda.enabled are both set"),
    ("hpa", "hpa={\"enabled\":true,\"cpu\":0,\"lag\":[]}", "set hpa.cpu or hpa.lag"),
    // Who may call.
    (
        "fleet",
        "config.file.insecure=false",
        "List the callers under config.file.auth.tokens, or set config.file.insecure",
    ),
    (
        "kafka",
        "config.file.auth.tokens[2].manage=false,drain.tokenFile=\"\"",
        "Give one of the tokens `manage: true`, or name the file of such a token in drain.tokenFile",
    ),
    // Secrets.
    (
        "kafka",
        "config.file.bridges.main.sasl.password=\"s3cret\"",
        "/sasl/password': got string, want object",
    ),
    (
        "kafka",
        "config.file.auth.tokens=[{\"name\":\"a\",\"secret\":\"s\"}]",
        "/secret': got string, want object",
    ),
    (
        "fleet",
        "config.file.bridges.main.url=\"amqp://u:p@rabbitmq\"",
        "a URL in config.file holds a password",
    ),
    // Replicas.
    ("kafka", "replicas.secret=\"\"", "subscriptions.audit is fetched (pull), and there are several pods"),
    (
        "hpa",
        "config.file.registry={\"bridge\":\"main\"}",
        "config.file.registry lets callers make subscriptions",
    ),
    // The configuration.
    ("fleet", "config.file.bridges={}", "config.file.bridges names no broker"),
    (
        "fleet",
        "config.file.bridges.main.kind=\"kafak\"",
        "/kind': value must be one of 'amqp', 'embedded', 'kafka', 'nats'",
    ),
    ("fleet", "config.file.bridges.main.vhost=\"/\"", "additional properties 'vhost' not allowed"),
    ("fleet", "config.file.topcis={}", "at '/config/file': additional properties 'topcis' not allowed"),
    (
        "fleet",
        "config.file.listen=\"0.0.0.0:80\"",
        "at '/config/file': additional properties 'listen' not allowed",
    ),
    ("fleet", "config.file.subscriptions.billing.order=\"keys\"", "/billing/order': "),
    ("fleet", "config.rollout=\"never\"", "at '/config/rollout': value must be one of 'reload', 'restart'"),
    ("fleet", "config.existingConfigMap=\"other\"", "config.file and config.existingConfigMap are both set"),
    ("existing", "config.rollout=\"restart\"", "the chart cannot see what is in config.existingConfigMap"),
    // Stopping.
    (
        "fleet",
        "terminationGracePeriodSeconds=20",
        "terminationGracePeriodSeconds is 20, and stopping may take 27",
    ),
    ("ephemeral", "terminationGracePeriodSeconds=60", "is 60, and stopping may take 95"),
    ("fleet", "drain.atLeast=5", "at '/drain/atLeast': got number, want string"),
    // The rest.
    ("fleet", "replicas={\"count\":3}", "at '/replicas': additional properties 'count' not allowed"),
    ("fleet", "replicaCount=\"3\"", "at '/replicaCount': got string, want integer"),
    ("fleet", "imagee.tag=\"1\"", "additional properties 'imagee' not allowed"),
    ("fleet", "image.digest=\"latest\"", "at '/image/digest': 'latest' does not match pattern"),
    (
        "fleet",
        "readiness=\"ready\"",
        "at '/readiness': value must be one of 'listeners', 'publish', 'subscriptions'",
    ),
    ("fleet", "mesh.kind=\"envoy\"", "at '/mesh/kind': value must be one of 'none', 'linkerd'"),
    ("fleet", "secrets.env=[{\"name\":\"A\",\"value\":\"b\"}]", "additional properties 'value' not allowed"),
];

const SIDECAR: &[Refusal] = &[
    ("embedded", "sidespan.ephemeral=false", "a volume of the pod: an embedded log keeps its messages there"),
    ("embedded", "sidespan.config.file.bridges.local.dir=\"/data\"", "the volume is at /var/lib/sidespan"),
    ("kafka", "sidespan.config.file.bridges={}", "config.file.bridges of the sidecar names no broker"),
    ("kafka", "sidespan.config.file.bridges.main.sasl.password=\"s3cret\"", "got string, want object"),
    (
        "kafka",
        "sidespan.terminationGracePeriodSeconds=10",
        "terminationGracePeriodSeconds of the sidecar is 10",
    ),
    ("kafka", "sidespan.nativ=true", "additional properties 'nativ' not allowed"),
    (
        "ordinary",
        "sidespan.config.file.auth.tokens[0].manage=false,sidespan.drain.tokenFile=\"\"",
        "Give one of the tokens `manage: true`, or name the file of such a token in drain.tokenFile",
    ),
    (
        "existing",
        "sidespan.config.rollout=\"restart\"",
        "the chart cannot see what is in config.existingConfigMap",
    ),
];
