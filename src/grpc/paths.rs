//! The paths of the door's methods, as its descriptions have them.

use prost::Message;
use prost_types::FileDescriptorSet;

use crate::proto;

/// Returns the paths of all methods that are described here.
pub fn paths() -> Vec<String> {
    let described = [
        proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    // They were built in, and can be read.
    let sets = described.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok());
    let mut paths = Vec::new();
    for file in sets.flat_map(|set| set.file) {
        for service in &file.service {
            let methods = service.method.iter();
            paths.extend(
                methods.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())),
            );
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_methods() {
        let paths = paths();
        for path in [
            "/sidespan.v1.Admin/ListTopics",
            "/sidespan.v1.Publisher/Publish",
            "/sidespan.v1.Requester/Request",
            "/sidespan.v1.Subscriber/Pull",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(paths.iter().any(|known| known == path), "{path} in {paths:?}");
        }
    }
}
