//! Restricted Pod Security, as the Pod Security Standards write it down.

use serde_json::{Value, json};

/// Returns what a pod breaks.
pub(crate) fn violations(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        check(&mut found, pod[key] != true, key);
    }
    for volume in list(&pod["volumes"]) {
        let kinds =
            volume.as_object().into_iter().flat_map(|volume| volume.keys()).filter(|key| *key != "name");
        kinds.for_each(|kind| check(&mut found, VOLUMES.contains(&kind.as_str()), &format!("volume {kind}")));
    }
    check(&mut found, list(&pod["securityContext"]["sysctls"]).is_empty(), "sysctls");
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        for container in list(&pod[kind]) {
            let name = container["name"].as_str().unwrap_or("?");
            let before = found.len();
            self::container(&mut found, &pod["securityContext"], container);
            found.iter_mut().skip(before).for_each(|what| *what = format!("{name}: {what}"));
        }
    }
    found
}

fn container(found: &mut Vec<String>, pod: &Value, container: &Value) {
    let own = &container["securityContext"];
    let either = |key: &str| if own[key].is_null() { &pod[key] } else { &own[key] };
    check(found, own["privileged"] != true, "privileged");
    check(found, own["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
    check(found, list(&own["capabilities"]["drop"]).contains(&json!("ALL")), "capabilities.drop");
    let added = list(&own["capabilities"]["add"]);
    check(found, added.iter().all(|one| one == "NET_BIND_SERVICE"), "capabilities.add");
    check(found, *either("runAsNonRoot") == true, "runAsNonRoot");
    check(found, *either("runAsUser") != 0, "runAsUser");
    let seccomp = &either("seccompProfile")["type"];
    check(found, seccomp == "RuntimeDefault" || seccomp == "Localhost", "seccompProfile");
    check(found, own["procMount"].is_null() || own["procMount"] == "Default", "procMount");
    check(
        found,
        either("seLinuxOptions").is_null() && either("appArmorProfile").is_null(),
        "seLinux, AppArmor",
    );
    let ports = list(&container["ports"]);
    check(found, ports.iter().all(|port| port["hostPort"].is_null()), "hostPort");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        check(found, container[probe]["httpGet"]["host"].is_null(), probe);
    }
}

fn check(found: &mut Vec<String>, holds: bool, what: &str) {
    if !holds {
        found.push(what.to_owned());
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

#[test]
fn each_rule_can_be_broken() {
    let good = json!({
        "volumes": [{"name": "v", "emptyDir": {}}],
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "c",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    });
    assert_eq!(violations(&good), Vec::<String>::new());
    let own = "/containers/0/securityContext";
    for (place, key, value, said) in [
        ("", "hostNetwork", json!(true), "hostNetwork"),
        ("", "hostPID", json!(true), "hostPID"),
        ("/volumes/0", "hostPath", json!({"path": "/"}), "volume hostPath"),
        ("/securityContext", "sysctls", json!([{"name": "net.core.somaxconn"}]), "sysctls"),
        ("/securityContext", "runAsNonRoot", json!(false), "c: runAsNonRoot"),
        ("/securityContext", "runAsUser", json!(0), "c: runAsUser"),
        ("/securityContext", "seccompProfile", json!({"type": "Unconfined"}), "c: seccompProfile"),
        (own, "privileged", json!(true), "c: privileged"),
        (own, "allowPrivilegeEscalation", Value::Null, "c: allowPrivilegeEscalation"),
        (own, "capabilities", json!({}), "c: capabilities.drop"),
        (own, "capabilities", json!({"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "c: capabilities.add"),
        (own, "procMount", json!("Unmasked"), "c: procMount"),
        ("/containers/0", "ports", json!([{"hostPort": 7400}]), "c: hostPort"),
        ("/containers/0", "livenessProbe", json!({"httpGet": {"host": "10.0.0.1"}}), "c: livenessProbe"),
    ] {
        let mut bad = good.clone();
        bad.pointer_mut(place).unwrap()[key] = value;
        assert_eq!(violations(&bad), [said]);
    }
}
