//! `hsmctl tag`: tags of HSMs, groups and clients.

use super::Format;
use super::exit::{Error, Exit};
use super::output::{Table, show};
use clap::Subcommand;
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::cloudhsm::{
    self, AddTagsToResourceRequest, ListTagsForResourceRequest, RemoveTagsFromResourceRequest,
};
use serde::Serialize;
use tonic::transport::Channel;

/// The verbs.
#[derive(Subcommand)]
pub(super) enum Tag {
    /// Adds tags, or overwrites them.
    #[command(
        after_help = "Example:\n  hsmctl tag add arn:aws:cloudhsm:local-1:000000000000:hsm-1a2b3c4d stage=test owner=web"
    )]
    Add {
        /// ARN of an HSM, a group or a client.
        arn: String,
        /// KEY=VALUE.
        #[arg(required = true, value_name = "KEY=VALUE")]
        tags: Vec<String>,
    },
    /// Removes tags.
    #[command(after_help = "Example:\n  hsmctl tag remove arn:aws:cloudhsm:local-1:000000000000:hsm-1a2b3c4d stage")]
    Remove {
        /// ARN of an HSM, a group or a client.
        arn: String,
        /// Keys.
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Lists tags.
    #[command(after_help = "Example:\n  hsmctl tag list arn:aws:cloudhsm:local-1:000000000000:hsm-1a2b3c4d")]
    List {
        /// ARN of an HSM, a group or a client.
        arn: String,
    },
}

/// Runs a verb; each answers with the tags that there are then.
pub(super) async fn run(channel: Channel, command: Tag, format: Format) -> Result<Exit, Error> {
    let mut client = CloudHsmClient::new(channel);
    let arn = match command {
        Tag::Add { arn, tags } => {
            let request = AddTagsToResourceRequest {
                resource_arn: Some(arn.clone()),
                tag_list: tags.iter().map(|tag| parse(tag)).collect::<Result<_, _>>()?,
            };
            client.add_tags_to_resource(request).await?;
            arn
        }
        Tag::Remove { arn, keys } => {
            let request = RemoveTagsFromResourceRequest {
                resource_arn: Some(arn.clone()),
                tag_key_list: keys,
            };
            client.remove_tags_from_resource(request).await?;
            arn
        }
        Tag::List { arn } => arn,
    };
    let resource_arn = Some(arn);
    let answer = client
        .list_tags_for_resource(ListTagsForResourceRequest { resource_arn })
        .await?;
    let tags = answer.into_inner().tag_list.into_iter();
    let view = |tag: cloudhsm::Tag| TagView {
        key: tag.key.unwrap_or_default(),
        value: tag.value.unwrap_or_default(),
    };
    show(&TagList(tags.map(view).collect()), format)
}

fn parse(tag: &str) -> Result<cloudhsm::Tag, Error> {
    let (key, value) = tag
        .split_once('=')
        .ok_or_else(|| Error::new(Exit::Usage, format!("{tag}: a tag is KEY=VALUE")))?;
    Ok(cloudhsm::Tag {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    })
}

#[derive(Serialize)]
struct TagView {
    key: String,
    value: String,
}

#[derive(Serialize)]
struct TagList(Vec<TagView>);

impl Table for TagList {
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.0.iter().map(|tag| vec![tag.key.clone(), tag.value.clone()]);
        std::iter::once(vec!["KEY".to_owned(), "VALUE".to_owned()])
            .chain(rows)
            .collect()
    }
}
