//! Our client, asked with the bytes of a request.

use prost::Message;
use zrepl_daemon::endpoint::EndpointError;
use zrepl_daemon::rpc::control::client::ControlClient;
use zrepl_proto::pdu::{ListFilesystemReq, PingReq};

use crate::recording::Asked;

fn read<M: Message + Default>(asked: &Asked) -> M {
    M::decode(&asked.message[..]).expect("request")
}

pub(crate) async fn ask(client: &ControlClient, asked: &Asked) -> Result<Vec<u8>, EndpointError> {
    Ok(match asked.method.as_str() {
        "Ping" => {
            let PingReq { message } = read(asked);
            let limit = std::time::Duration::from_secs(600);
            let message = client.ping(&message, limit).await?;
            PingReq { message }.encode_to_vec()
        }
        "ListFilesystems" => client.list_filesystems(read(asked)).await?.encode_to_vec(),
        "ListFilesystemVersions" => {
            let answer = client.list_filesystem_versions(read(asked)).await?;
            answer.encode_to_vec()
        }
        "DestroySnapshots" => client.destroy_snapshots(read(asked)).await?.encode_to_vec(),
        "ReplicationCursor" => client
            .replication_cursor(read(asked))
            .await?
            .encode_to_vec(),
        "SendDry" => client.send_dry(read(asked)).await?.encode_to_vec(),
        "SendCompleted" => client.send_completed(read(asked)).await?.encode_to_vec(),
        method => panic!("no method {method}"),
    })
}

/// Some request.
pub(crate) async fn ask_list(client: &ControlClient) -> Result<Vec<u8>, EndpointError> {
    let answer = client.list_filesystems(ListFilesystemReq {}).await?;
    Ok(answer.encode_to_vec())
}
