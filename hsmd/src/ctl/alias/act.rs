//! What the original's commands do here. Those of several steps can be repeated after a failure: each step looks first
//! whether it is done.

use super::Call;
use super::answer::{self, status};
use super::table::Act;
use crate::ctl::confirm::sure;
use crate::ctl::exit::{Error, Exit};
use crate::ctl::officer::message;
use crate::ctl::output::id_of;
use crate::ctl::secret::Secret;
use crate::ctl::{client, group, hsm, secret};
use hsmd_control::IF_LAST_MODIFIED_KEY;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{
    AssignClientRequest, CreatePartitionRequest, DeletePartitionRequest, DescribeSecurityOfficerRequest,
    InitializeHsmRequest, ListPartitionsRequest, Partition, Pin, RevokeClientRequest,
};
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::cloudhsm::{
    AddTagsToResourceRequest, CreateHapgRequest, CreateHsmRequest, CreateLunaClientRequest, DeleteHapgRequest,
    DeleteHsmRequest, DeleteLunaClientRequest, DescribeHapgRequest, DescribeHapgResponse, DescribeHsmRequest,
    DescribeLunaClientRequest, GetConfigRequest, ListHapgsRequest, ListHsmsRequest, ListLunaClientsRequest,
    ListTagsForResourceRequest, ModifyHapgRequest, ModifyHsmRequest, PartitionSerialList,
    RemoveTagsFromResourceRequest, Tag,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

/// The two services.
struct Api {
    cloudhsm: CloudHsmClient<Channel>,
    admin: HsmAdminClient<Channel>,
}

/// What the original asks for with each partition.
struct Passwords {
    officer: Secret,
    /// None: the group has its token already.
    partition: Option<Secret>,
}

/// Runs a command.
pub(super) async fn run(channel: Channel, call: &Call<'_>) -> Result<Value, Error> {
    let mut api = Api {
        cloudhsm: CloudHsmClient::new(channel.clone()),
        admin: HsmAdminClient::new(channel.clone()),
    };
    match call.row.act {
        Act::Version => Ok(Value::Null),
        Act::ListClients | Act::ListHapgs | Act::ListHsms => api.list(call.row.act).await,
        Act::AddTag | Act::ListTags | Act::RemoveTags => api.tags(call).await,
        Act::CreateClient | Act::DescribeClient | Act::DeleteClient => api.client(call).await,
        Act::CreateHapg | Act::DescribeHapg | Act::DeleteHapg => api.hapg(call).await,
        Act::CreateHsm | Act::DescribeHsm | Act::DeleteHsm | Act::ModifyHsm => api.hsm(call).await,
        Act::RegisterClient | Act::DeregisterClient => api.assign(call).await,
        Act::GetConfiguration => api.configuration(call).await,
        Act::AddHsmToHapg => api.add(call).await,
        Act::RemoveHsmFromHapg => api.remove(call).await,
        Act::CloneHapg => api.clone_hapg(call, channel).await,
        Act::CloneHsm => api.clone_hsm(call).await,
        Act::InitializeHsm => api.initialize(call).await,
    }
}

impl Api {
    async fn list(&mut self, act: Act) -> Result<Value, Error> {
        let (mut all, mut next_token) = (Vec::new(), None);
        let name = match act {
            Act::ListClients => "ClientList",
            Act::ListHapgs => "HapgList",
            _ => "HsmList",
        };
        loop {
            let (page, token) = match act {
                Act::ListClients => {
                    let request = ListLunaClientsRequest { next_token };
                    let page = self.cloudhsm.list_luna_clients(request).await?.into_inner();
                    (page.client_list, page.next_token)
                }
                Act::ListHapgs => {
                    let page = self
                        .cloudhsm
                        .list_hapgs(ListHapgsRequest { next_token })
                        .await?
                        .into_inner();
                    (page.hapg_list, page.next_token)
                }
                _ => {
                    let page = self
                        .cloudhsm
                        .list_hsms(ListHsmsRequest { next_token })
                        .await?
                        .into_inner();
                    (page.hsm_list, page.next_token)
                }
            };
            all.extend(page);
            if token.is_empty() {
                return Ok(json!({ name: all }));
            }
            next_token = Some(token);
        }
    }

    async fn tags(&mut self, call: &Call<'_>) -> Result<Value, Error> {
        let resource_arn = Some(call.text("resource-arn"));
        let done = match call.row.act {
            Act::AddTag => {
                let tag = Tag {
                    key: call.maybe("key"),
                    value: call.maybe("value"),
                };
                let request = AddTagsToResourceRequest {
                    resource_arn,
                    tag_list: vec![tag],
                };
                self.cloudhsm.add_tags_to_resource(request).await?.into_inner().status
            }
            Act::RemoveTags => {
                let request = RemoveTagsFromResourceRequest {
                    resource_arn,
                    tag_key_list: call.all("keys"),
                };
                let answer = self.cloudhsm.remove_tags_from_resource(request).await?;
                answer.into_inner().status
            }
            _ => {
                let request = ListTagsForResourceRequest { resource_arn };
                let tags = self.cloudhsm.list_tags_for_resource(request).await?.into_inner();
                return Ok(answer::tags(tags.tag_list));
            }
        };
        Ok(status(&done))
    }

    async fn client(&mut self, call: &Call<'_>) -> Result<Value, Error> {
        if call.row.act == Act::CreateClient {
            let request = CreateLunaClientRequest {
                label: None,
                certificate: Some(read(call.text("certificate-file"))?),
            };
            let arn = self.cloudhsm.create_luna_client(request).await?.into_inner().client_arn;
            return Ok(json!({ "ClientArn": arn }));
        }
        let client_arn = Some(client::find(&mut self.cloudhsm, &call.text("client-arn")).await?.arn);
        if call.row.act == Act::DeleteClient {
            let request = DeleteLunaClientRequest { client_arn };
            return Ok(status(
                &self.cloudhsm.delete_luna_client(request).await?.into_inner().status,
            ));
        }
        let request = DescribeLunaClientRequest {
            client_arn,
            certificate_fingerprint: None,
        };
        Ok(answer::client(
            self.cloudhsm.describe_luna_client(request).await?.into_inner(),
        ))
    }

    async fn hapg(&mut self, call: &Call<'_>) -> Result<Value, Error> {
        if call.row.act == Act::CreateHapg {
            let label = call.maybe("group-label");
            let arn = self
                .cloudhsm
                .create_hapg(CreateHapgRequest { label })
                .await?
                .into_inner()
                .hapg_arn;
            return Ok(json!({ "HapgArn": arn }));
        }
        let group = self.group(&call.text("hapg-arn")).await?;
        if call.row.act == Act::DescribeHapg {
            return Ok(answer::hapg(group));
        }
        sure(
            call.is_set("force"),
            "deleting a group leaves its keys in the partitions",
        )?;
        let hapg_arn = Some(group.hapg_arn);
        Ok(status(
            &self
                .cloudhsm
                .delete_hapg(DeleteHapgRequest { hapg_arn })
                .await?
                .into_inner()
                .status,
        ))
    }

    async fn hsm(&mut self, call: &Call<'_>) -> Result<Value, Error> {
        if call.row.act == Act::CreateHsm {
            let request = CreateHsmRequest {
                subnet_id: call.maybe("subnet-id"),
                ssh_key: Some(read(call.text("ssh-public-key-file"))?.trim().to_owned()),
                eni_ip: call.maybe("hsm-ip"),
                iam_role_arn: call.maybe("iam-role-arn"),
                external_id: call.maybe("external-id"),
                subscription_type: Some("PRODUCTION".to_owned()),
                client_token: None,
                syslog_ip: call.maybe("syslog-ip"),
            };
            let arn = self.cloudhsm.create_hsm(request).await?.into_inner().hsm_arn;
            return Ok(json!({ "HsmArn": arn }));
        }
        let hsm_arn = Some(hsm::find(&mut self.cloudhsm, &call.text("hsm-arn")).await?.arn);
        match call.row.act {
            Act::DeleteHsm => {
                sure(call.is_set("force"), "deleting an HSM takes its slots away")?;
                let answer = self.cloudhsm.delete_hsm(DeleteHsmRequest { hsm_arn }).await?;
                Ok(status(&answer.into_inner().status))
            }
            Act::ModifyHsm => {
                sure(call.is_set("force"), "a changed address cuts off who uses the old one")?;
                let request = ModifyHsmRequest {
                    hsm_arn,
                    subnet_id: call.maybe("subnet-id"),
                    eni_ip: call.maybe("hsm-ip"),
                    iam_role_arn: call.maybe("iam-role-arn"),
                    external_id: call.maybe("external-id"),
                    syslog_ip: call.maybe("syslog-ip"),
                };
                let arn = self.cloudhsm.modify_hsm(request).await?.into_inner().hsm_arn;
                Ok(json!({ "HsmArn": arn }))
            }
            _ => {
                let request = DescribeHsmRequest {
                    hsm_arn,
                    hsm_serial_number: None,
                };
                Ok(answer::hsm(self.cloudhsm.describe_hsm(request).await?.into_inner()))
            }
        }
    }

    async fn assign(&mut self, call: &Call<'_>) -> Result<Value, Error> {
        let client = client::find(&mut self.cloudhsm, &call.text("client-arn")).await?.arn;
        let group = self.group(&call.text("hapg-arn")).await?;
        if group.partition_serial_list.is_empty() && call.row.act == Act::RegisterClient {
            let message = format!("{}: has no members\n  remedy: add-hsm-to-hapg first", group.hapg_arn);
            return Err(Error::new(Exit::NotReady, message));
        }
        let partition = id_of(&group.hapg_arn);
        let (done, direction) = if call.row.act == Act::RegisterClient {
            let client = client.clone();
            self.admin
                .assign_client(AssignClientRequest { client, partition })
                .await?;
            ("Registration", "to")
        } else {
            let client = client.clone();
            self.admin
                .revoke_client(RevokeClientRequest { client, partition })
                .await?;
            ("Deregistration", "from")
        };
        let words = format!(
            "{done} of the client {client} {direction} the HA partition group {} successful",
            group.hapg_arn
        );
        Ok(status(&words))
    }

    async fn configuration(&mut self, call: &Call<'_>) -> Result<Value, Error> {
        let mut hapg_list = Vec::new();
        for name in call.all("hapg-arns") {
            hapg_list.push(group::find(&mut self.cloudhsm, &name).await?.arn);
        }
        let certificates = PathBuf::from(call.maybe("cert-directory").unwrap_or_else(|| ".".to_owned()));
        // The original looks at the folder's name for the version of the client.
        let old = certificates.to_string_lossy().contains("lunasa");
        let request = GetConfigRequest {
            client_arn: Some(client::find(&mut self.cloudhsm, &call.text("client-arn")).await?.arn),
            client_version: Some(if old { "5.1" } else { "5.3" }.to_owned()),
            hapg_list,
        };
        let answer = self.cloudhsm.get_config(request).await?.into_inner();
        let folder = PathBuf::from(call.maybe("config-directory").unwrap_or_else(|| ".".to_owned()));
        write(&folder.join("Chrystoki.conf"), &answer.config_file)?;
        write(&certificates.join("CAFile.pem"), &answer.config_cred)?;
        let words = [
            format!("The configuration file has been copied to {}", folder.display()),
            format!("The server certificate has been copied to {}", certificates.display()),
        ];
        Ok(json!({ "Status": words }))
    }

    async fn add(&mut self, call: &Call<'_>) -> Result<Value, Error> {
        // Read before anything is changed: a missing file must not leave half of the work behind.
        let passwords = Passwords {
            officer: secret::argument("--so-password", &call.text("so-password"))?,
            partition: Some(secret::argument(
                "--partition-password",
                &call.text("partition-password"),
            )?),
        };
        let hsm = hsm::find(&mut self.cloudhsm, &call.text("hsm-arn")).await?;
        let group = self.group(&call.text("hapg-arn")).await?;
        self.join(&hsm.arn, &hsm.serial, group, &passwords).await
    }

    /// Makes or finds the partition of an HSM for a group, and adds it. The first member of a group brings the token.
    async fn join(
        &mut self,
        hsm_arn: &str,
        serial: &str,
        group: DescribeHapgResponse,
        passwords: &Passwords,
    ) -> Result<Value, Error> {
        let arn = group.hapg_arn.clone();
        if group
            .partition_serial_list
            .iter()
            .any(|member| member.starts_with(serial))
        {
            let message = format!("{hsm_arn} is a member of {arn} already");
            return Err(Error::new(Exit::Conflict, message));
        }
        let label = format!("{}_{serial}", id_of(&arn));
        let partitions = self.partitions(hsm_arn).await?;
        let partition = match partitions.into_iter().find(|partition| partition.label == label) {
            Some(partition) => partition.serial,
            None => {
                let all = self.partitions("").await?;
                let is_member = |found: &Partition| group.partition_serial_list.contains(&found.serial);
                let has_token = all.iter().any(|found| is_member(found) && found.initialized);
                let user = passwords.partition.as_ref().filter(|_| !has_token);
                let request = CreatePartitionRequest {
                    hsm: hsm_arn.to_owned(),
                    label,
                    so_pin: user.map(|_| message(&passwords.officer)),
                    user_pin: user.map(|pin| message(pin)),
                    hsm_so_pin: self.officer(hsm_arn, &passwords.officer).await?,
                    ..CreatePartitionRequest::default()
                };
                let made = self.admin.create_partition(request).await?.into_inner().partition;
                made.unwrap_or_default().serial
            }
        };
        let mut members = group.partition_serial_list.clone();
        members.push(partition);
        self.replace(group, members).await?;
        Ok(status(&format!(
            "Addition of HSM {hsm_arn} to HA partition group {arn} successful"
        )))
    }

    async fn remove(&mut self, call: &Call<'_>) -> Result<Value, Error> {
        let password = secret::argument("--so-password", &call.text("so-password"))?;
        sure(
            call.is_set("force"),
            "the partition that leaves is deleted; the keys stay with the other members",
        )?;
        let hsm = hsm::find(&mut self.cloudhsm, &call.text("hsm-arn")).await?;
        let group = self.group(&call.text("hapg-arn")).await?;
        let arn = group.hapg_arn.clone();
        let members = group.partition_serial_list.clone();
        let (leaving, staying): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| member.starts_with(&hsm.serial));
        if leaving.is_empty() {
            let message = format!("{} is no member of {arn}", hsm.arn);
            return Err(Error::new(Exit::NotFound, message));
        }
        if staying.is_empty() {
            let message = format!(
                "{} is the last member of {arn}: its partition holds the only copy of the keys\n  remedy: `hsmctl group \
                 remove` leaves the partition, `hsmctl partition delete` destroys it with its keys",
                hsm.arn
            );
            return Err(Error::new(Exit::NotReady, message));
        }
        self.replace(group, staying).await?;
        for partition in leaving {
            let hsm_so_pin = self.officer(&hsm.arn, &password).await?;
            self.admin
                .delete_partition(DeletePartitionRequest { partition, hsm_so_pin })
                .await?;
        }
        Ok(status(&format!(
            "Removal of HSM {} from HA partition group {arn} successful",
            hsm.arn
        )))
    }

    async fn clone_hapg(&mut self, call: &Call<'_>, channel: Channel) -> Result<Value, Error> {
        let password = secret::argument("--hapg-password", &call.text("hapg-password"))?;
        let source = group::find(&mut self.cloudhsm, &call.text("src-hapg-arn")).await?.arn;
        let target = group::find(&mut self.cloudhsm, &call.text("dest-hapg-arn")).await?.arn;
        sure(call.is_set("force"), "the keys of one group are in the other one, too")?;
        let done = group::clone(channel, (source.clone(), target.clone()), &password).await?;
        let words = format!(
            "Cloning of HA partition group {source} to {target} successful: {} objects copied, {} in all",
            done.copied, done.objects
        );
        Ok(status(&words))
    }

    async fn clone_hsm(&mut self, call: &Call<'_>) -> Result<Value, Error> {
        let passwords = Passwords {
            officer: secret::argument("--so-password", &call.text("so-password"))?,
            partition: None,
        };
        sure(
            call.is_set("force"),
            "the other HSM becomes a member of each group in which this one is",
        )?;
        let source = hsm::find(&mut self.cloudhsm, &call.text("src-hsm-arn")).await?;
        let target = hsm::find(&mut self.cloudhsm, &call.text("dest-hsm-arn")).await?;
        let mut joined = 0;
        for view in group::all(&mut self.cloudhsm).await? {
            let is_in = |serial: &str| view.partitions.iter().any(|member| member.starts_with(serial));
            if is_in(&source.serial) && !is_in(&target.serial) {
                let group = self.group(&view.arn).await?;
                self.join(&target.arn, &target.serial, group, &passwords).await?;
                joined += 1;
            }
        }
        let words = format!(
            "Cloning of HSM {} to HSM {} successful: {joined} groups joined",
            source.arn, target.arn
        );
        Ok(status(&words))
    }

    async fn initialize(&mut self, call: &Call<'_>) -> Result<Value, Error> {
        let hsm = hsm::find(&mut self.cloudhsm, &call.text("hsm-arn")).await?.arn;
        let request = InitializeHsmRequest {
            hsm,
            label: call.text("label"),
            so_pin: Some(message(&secret::argument("--so-password", &call.text("so-password"))?)),
            domain: Some(message(&secret::argument(
                "--cloning-domain",
                &call.text("cloning-domain"),
            )?)),
        };
        self.admin.initialize_hsm(request).await?;
        Ok(status("Initialization of CloudHSM instance successful"))
    }

    /// The password of an HSM's security officer, if it has one: without one there is nothing to check it against.
    async fn officer(&mut self, hsm: &str, password: &Secret) -> Result<Option<Pin>, Error> {
        let hsm = hsm.to_owned();
        let answer = self
            .admin
            .describe_security_officer(DescribeSecurityOfficerRequest { hsm })
            .await?;
        let officer = answer.into_inner().officer.unwrap_or_default();
        Ok(officer.initialized.then(|| message(password)))
    }

    async fn group(&mut self, name: &str) -> Result<DescribeHapgResponse, Error> {
        let hapg_arn = Some(group::find(&mut self.cloudhsm, name).await?.arn);
        Ok(self
            .cloudhsm
            .describe_hapg(DescribeHapgRequest { hapg_arn })
            .await?
            .into_inner())
    }

    async fn partitions(&mut self, hsm: &str) -> Result<Vec<Partition>, Error> {
        let hsm = hsm.to_owned();
        Ok(self
            .admin
            .list_partitions(ListPartitionsRequest { hsm })
            .await?
            .into_inner()
            .partitions)
    }

    /// Changes the members of a group as it was read: not at all, if somebody else was faster.
    async fn replace(&mut self, read: DescribeHapgResponse, members: Vec<String>) -> Result<(), Error> {
        let mut request = Request::new(ModifyHapgRequest {
            hapg_arn: Some(read.hapg_arn),
            label: None,
            partition_serial_list: Some(PartitionSerialList { members }),
        });
        if let Ok(read) = AsciiMetadataValue::try_from(&read.last_modified_timestamp) {
            request.metadata_mut().insert(IF_LAST_MODIFIED_KEY, read);
        }
        self.cloudhsm.modify_hapg(request).await?;
        Ok(())
    }
}

fn read(path: String) -> Result<String, Error> {
    let text = std::fs::read_to_string(&path);
    text.map_err(|error| Error::new(Exit::Usage, format!("{path}: {error}")))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let explain = |error| Error::new(Exit::Failed, format!("{}: {error}", path.display()));
    std::fs::write(path, text).map_err(explain)
}
