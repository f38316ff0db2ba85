"""The user's credentials for registries, where Docker keeps them: ``~/.docker/config.json`` and credential helpers.

    from ardock.credentials import CredentialStore

    credentials = CredentialStore().get("docker.io")
    await engine.images.pull("me/private", credentials=credentials)

The store reads files and starts programs: call it in a thread where an event loop runs. It is the client's: an engine has
nobody's credentials but those that come with a call.
"""

from ardock.credentials.store import CredentialStore

__all__ = ["CredentialStore"]
