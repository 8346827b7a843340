//! The fields of every request as rows, held against the model by a test, and the one check that runs before anything
//! else: required, shape, length, value.

use super::model::ModelError;
use super::shapes::{self, *};
use hsmd_control::cloudhsm::*;

/// The most elements of a list in a request.
const MAX_LIST: usize = 100;

/// What a field holds.
pub(super) enum Value<'a> {
    Text(Option<&'a str>),
    /// `None`: the list is missing.
    List(Option<&'a [String]>),
    Tags(&'a [Tag]),
}

/// A field of a request.
pub(super) struct Field<'a> {
    /// The name in the model.
    pub(super) name: &'static str,
    /// Of the text, or of the list's elements.
    pub(super) shape: &'static Shape,
    pub(super) required: bool,
    pub(super) value: Value<'a>,
}

/// A request whose fields are rows.
pub(super) trait Fields {
    fn fields(&self) -> Vec<Field<'_>>;
}

/// Holds every field against its row.
///
/// # Errors
/// [`ModelError::Missing`], [`ModelError::Invalid`] for the first that does not fit.
pub(super) fn check(request: &impl Fields) -> Result<(), ModelError> {
    request.fields().iter().try_for_each(Field::check)
}

impl Field<'_> {
    fn check(&self) -> Result<(), ModelError> {
        let Self { name, shape, .. } = self;
        let present = match self.value {
            Value::Text(text) => text.is_some(),
            Value::List(list) => list.is_some_and(|list| !self.required || !list.is_empty()),
            Value::Tags(tags) => !tags.is_empty(),
        };
        if self.required && !present {
            return Err(ModelError::Missing(name, shape.rule));
        }
        match self.value {
            Value::Text(text) => text.map_or(Ok(()), |text| fit(name, shape, text)),
            Value::List(list) => {
                let list = list.unwrap_or_default();
                bounded(name, list.len())?;
                list.iter().try_for_each(|text| fit(name, shape, text))
            }
            Value::Tags(tags) => {
                bounded(name, tags.len())?;
                tags.iter().try_for_each(|tag| {
                    part("TagList.Key", &TAG_KEY, tag.key.as_deref())?;
                    part("TagList.Value", &TAG_VALUE, tag.value.as_deref())
                })
            }
        }
    }
}

fn fit(name: &'static str, shape: &Shape, text: &str) -> Result<(), ModelError> {
    if shape.fits(text) {
        Ok(())
    } else {
        Err(ModelError::Invalid(name, shape.rule))
    }
}

fn part(name: &'static str, shape: &Shape, text: Option<&str>) -> Result<(), ModelError> {
    fit(name, shape, text.ok_or(ModelError::Missing(name, shape.rule))?)
}

fn bounded(name: &'static str, length: usize) -> Result<(), ModelError> {
    if length <= MAX_LIST {
        Ok(())
    } else {
        Err(ModelError::Invalid(name, "a list of at most 100"))
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        Self::Text(text.as_deref())
    }
}

impl<'a> From<&'a Vec<String>> for Value<'a> {
    fn from(list: &'a Vec<String>) -> Self {
        Self::List(Some(list))
    }
}

impl<'a> From<&'a Option<PartitionSerialList>> for Value<'a> {
    fn from(list: &'a Option<PartitionSerialList>) -> Self {
        Self::List(list.as_ref().map(|list| list.members.as_slice()))
    }
}

impl<'a> From<&'a Vec<Tag>> for Value<'a> {
    fn from(tags: &'a Vec<Tag>) -> Self {
        Self::Tags(tags)
    }
}

macro_rules! fields {
    ($request:ident { $($field:ident: $name:literal $shape:ident $need:ident,)* }) => {
        impl Fields for $request {
            fn fields(&self) -> Vec<Field<'_>> {
                vec![$(Field {
                    name: $name,
                    shape: &shapes::$shape,
                    required: required!($need),
                    value: (&self.$field).into(),
                },)*]
            }
        }
    };
}

macro_rules! required {
    (required) => {
        true
    };
    (optional) => {
        false
    };
}

fields!(CreateHsmRequest {
    subnet_id: "SubnetId" SUBNET_ID required,
    ssh_key: "SshKey" SSH_KEY required,
    eni_ip: "EniIp" IP_ADDRESS optional,
    iam_role_arn: "IamRoleArn" IAM_ROLE_ARN required,
    external_id: "ExternalId" EXTERNAL_ID optional,
    subscription_type: "SubscriptionType" SUBSCRIPTION_TYPE required,
    client_token: "ClientToken" CLIENT_TOKEN optional,
    syslog_ip: "SyslogIp" IP_ADDRESS optional,
});
fields!(DescribeHsmRequest {
    hsm_arn: "HsmArn" HSM_ARN optional,
    hsm_serial_number: "HsmSerialNumber" HSM_SERIAL_NUMBER optional,
});
fields!(ListHsmsRequest {
    next_token: "NextToken" PAGINATION_TOKEN optional,
});
fields!(ModifyHsmRequest {
    hsm_arn: "HsmArn" HSM_ARN required,
    subnet_id: "SubnetId" SUBNET_ID optional,
    eni_ip: "EniIp" IP_ADDRESS optional,
    iam_role_arn: "IamRoleArn" IAM_ROLE_ARN optional,
    external_id: "ExternalId" EXTERNAL_ID optional,
    syslog_ip: "SyslogIp" IP_ADDRESS optional,
});
fields!(DeleteHsmRequest {
    hsm_arn: "HsmArn" HSM_ARN required,
});
fields!(CreateHapgRequest {
    label: "Label" LABEL required,
});
fields!(DescribeHapgRequest {
    hapg_arn: "HapgArn" HAPG_ARN required,
});
fields!(ListHapgsRequest {
    next_token: "NextToken" PAGINATION_TOKEN optional,
});
fields!(ModifyHapgRequest {
    hapg_arn: "HapgArn" HAPG_ARN required,
    label: "Label" LABEL optional,
    partition_serial_list: "PartitionSerialList" PARTITION_SERIAL optional,
});
fields!(DeleteHapgRequest {
    hapg_arn: "HapgArn" HAPG_ARN required,
});
fields!(CreateLunaClientRequest {
    label: "Label" CLIENT_LABEL optional,
    certificate: "Certificate" CERTIFICATE required,
});
fields!(DescribeLunaClientRequest {
    client_arn: "ClientArn" CLIENT_ARN optional,
    certificate_fingerprint: "CertificateFingerprint" CERTIFICATE_FINGERPRINT optional,
});
fields!(ListLunaClientsRequest {
    next_token: "NextToken" PAGINATION_TOKEN optional,
});
fields!(ModifyLunaClientRequest {
    client_arn: "ClientArn" CLIENT_ARN required,
    certificate: "Certificate" CERTIFICATE required,
});
fields!(DeleteLunaClientRequest {
    client_arn: "ClientArn" CLIENT_ARN required,
});
fields!(GetConfigRequest {
    client_arn: "ClientArn" CLIENT_ARN required,
    client_version: "ClientVersion" CLIENT_VERSION required,
    hapg_list: "HapgList" HAPG_ARN required,
});
fields!(ListAvailableZonesRequest {});
fields!(AddTagsToResourceRequest {
    resource_arn: "ResourceArn" STRING required,
    tag_list: "TagList" TAG_KEY required,
});
fields!(RemoveTagsFromResourceRequest {
    resource_arn: "ResourceArn" STRING required,
    tag_key_list: "TagKeyList" TAG_KEY required,
});
fields!(ListTagsForResourceRequest {
    resource_arn: "ResourceArn" STRING required,
});
