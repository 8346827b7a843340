//! Tags.

use super::DONE;
use crate::control::model::ModelError;
use crate::node::Node;
use hsmd_control::cloudhsm::*;
use std::sync::Arc;

pub(super) fn add(
    node: &Arc<Node>,
    request: AddTagsToResourceRequest,
) -> Result<AddTagsToResourceResponse, ModelError> {
    let pair = |tag: Tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
    let tags: Vec<_> = request.tag_list.into_iter().map(pair).collect();
    node.model.add_tags(&request.resource_arn.unwrap_or_default(), &tags)?;
    Ok(AddTagsToResourceResponse { status: DONE.into() })
}

pub(super) fn remove(
    node: &Arc<Node>,
    request: RemoveTagsFromResourceRequest,
) -> Result<RemoveTagsFromResourceResponse, ModelError> {
    node.model
        .remove_tags(&request.resource_arn.unwrap_or_default(), &request.tag_key_list)?;
    Ok(RemoveTagsFromResourceResponse { status: DONE.into() })
}

pub(super) fn list(
    node: &Arc<Node>,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ModelError> {
    let tags = node.model.tags(&request.resource_arn.unwrap_or_default())?;
    let tag = |(key, value)| Tag {
        key: Some(key),
        value: Some(value),
    };
    Ok(ListTagsForResourceResponse {
        tag_list: tags.into_iter().map(tag).collect(),
    })
}
