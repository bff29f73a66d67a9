//! What the Dockerfile says of the image: its last stage.

use std::fs;

use crate::ROOT;

/// The image, as far as it is the Dockerfile's own.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// What is copied: from where in the build, to where.
    pub(crate) copies: Vec<(String, String)>,
    /// The environment.
    pub(crate) environment: Vec<(String, String)>,
    /// What is run: the entry point, and the command.
    pub(crate) command: Vec<String>,
    /// As whom.
    pub(crate) user: String,
    /// What may be written.
    pub(crate) volume: String,
    /// Where it starts.
    pub(crate) directory: String,
}

/// Reads the Dockerfile.
pub(crate) fn image() -> Image {
    let text = fs::read_to_string(format!("{ROOT}/Dockerfile")).expect("a Dockerfile");
    let (_, last) = text.rsplit_once("\nFROM ").expect("stages");
    let mut image = Image::default();
    let list =
        |text: &str| serde_json::from_str::<Vec<String>>(text).expect("a list, so that no shell is needed");
    for line in last.lines() {
        let Some((instruction, rest)) = line.split_once(' ') else { continue };
        match instruction {
            "CMD" | "ENTRYPOINT" => image.command.extend(list(rest)),
            "COPY" => {
                let mut words = rest.split(' ').filter(|word| !word.starts_with("--"));
                let mut word = || words.next().expect("a path").to_owned();
                image.copies.push((word(), word()));
            }
            "ENV" => {
                let (name, value) = rest.split_once('=').expect("a value");
                image.environment.push((name.into(), value.into()));
            }
            "USER" => image.user = rest.into(),
            "VOLUME" => image.volume = rest.into(),
            "WORKDIR" => image.directory = rest.into(),
            _ => {}
        }
    }
    image
}

#[test]
fn it_says_what_the_chart_relies_on() {
    let image = image();
    assert_eq!(image.user, "65532:65532");
    assert_eq!(image.command, ["/usr/local/bin/sidespan", "serve"]);
    assert_eq!(image.environment, [("SIDESPAN_CONFIG".into(), "/etc/sidespan/config.yaml".into())]);
    assert_eq!([image.volume, image.directory], ["/var/lib/sidespan"; 2]);
    assert!(image.copies.contains(&("/out/sidespan".into(), "/usr/local/bin/sidespan".into())));
}
