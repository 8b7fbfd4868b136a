//! Who is at the other end of a connection of the passive side. It comes from the transport and the banners, holds as long as
//! the connection does, and goes to whoever answers requests.

use zrepl_proto::extension::Agreement;

use crate::name::client_identity::ClientIdentity;

/// A client, as one of its connections knows it.
#[derive(Clone, Debug)]
pub struct Client {
    /// What the transport says that it is.
    pub identity: ClientIdentity,
    /// Where it is, for messages.
    pub peer: String,
    /// What both sides know beyond protocol 7. Empty with every Go client.
    pub agreement: Agreement,
}
