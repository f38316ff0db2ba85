"""One registry as one user sees it: how it is spoken to, authorization, redirects, and trying again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

import trio

from ardock.engine.registry.authorize import LONGEST_TOKEN, Authorizer
from ardock.engine.registry.challenge import parse_challenges
from ardock.engine.registry.failures import LONGEST_ERROR, Told, parse_error, refusal
from ardock.engine.registry.pace import Pace
from ardock.engine.registry.places import Origin, Place, is_insecure, may_be_plain, origin_of, redirected
from ardock.engine.registry.retrying import TRANSIENT, GiveUp, decide, retry_after
from ardock.engine.registry.transport import FINAL, Answer, Broken, Content, Transport
from ardock.model.errors import ArdockError, RegistryUnavailable
from ardock.model.registry import Credentials, RegistryOptions

ResultT = TypeVar("ResultT")

_MOST_REDIRECTS: Final = 10
# Those that any method follows, with its body; the others turn a request into a GET, which only GET and HEAD are.
_SAME_METHOD: Final = frozenset({307, 308})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_READING: Final = frozenset({"GET", "HEAD"})


class Host:
    """One registry, spoken to as one user.

    Attributes:
        place: Where it is.
        users: How many use it; its connections are closed with the last one.
    """

    def __init__(
        self,
        place: Place,
        credentials: Credentials,
        options: RegistryOptions,
        pace: Pace,
        *,
        offline: bool = False,
    ) -> None:
        """Nothing is sent before the first request.

        Args:
            place: Where it is.
            credentials: Of its user.
            options: How it is reached.
            pace: Time.
            offline: Ask for refresh tokens: for `login`.
        """
        self.place = place
        self.users = 0
        self.pace = pace
        self.options = options
        self._transport = Transport(options)
        self._origin: Origin | None = None
        self._probing = trio.Lock()
        self.authorizer = Authorizer(
            place.name, credentials, options.insecure, self._token_exchange, pace, offline=offline
        )

    @property
    def name(self) -> str:
        """As the user writes it."""
        return self.place.name

    async def release(self) -> None:
        """Close connections: nobody uses them. What is known of the registry stays."""
        await self._transport.release()

    async def aclose(self) -> None:
        """Close everything."""
        await self._transport.aclose()

    async def login(self) -> str:
        """See whether it takes the credentials; the refresh token that came with that, else empty.

        Raises:
            ArdockError: It does not, or it cannot be reached.
        """

        async def use(_: Answer) -> str:
            return self.authorizer.refresh

        return await self.ask("GET", "/v2/", use, what="login")

    async def origin(self) -> Origin:
        """How the registry is spoken to; found out at the first call.

        Raises:
            Broken: It cannot be reached.
        """
        async with self._probing:
            if self._origin is None:
                self._origin = await self._probe()
            return self._origin

    async def exchange(
        self,
        method: str,
        target: str,
        *,
        scopes: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        content: Content = b"",
    ) -> Answer:
        """One request, with authorization and redirects; the answer, whatever its status, is to be closed.

        Args:
            method: Such as ``GET``.
            target: A path of the registry, or an absolute address (which an answer of it named).
            scopes: What it needs to be allowed.
            headers: Further ones.
            content: The body, or what begins it anew.

        Raises:
            Broken: It failed below HTTP.
            ArdockError: The token server refuses, or a redirect leads where it may not.
        """
        own = await self.origin()
        url = target if "://" in target else f"{own}{target}"
        sent = dict(headers or {})
        # Once another server was in between, the credentials stay at home even if it leads back.
        trusted = origin_of(url) == own
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                if trusted:
                    answer = await self._authorized(method, url, scopes, sent, content)
                else:
                    answer = await self._send(method, url, sent, content)
                follows = _REDIRECTS if method in _READING else _SAME_METHOD
                if answer.status not in follows:
                    return answer
                await answer.aclose()
                hop = redirected(url, answer.header("Location"), self.options.insecure)
                if isinstance(hop, str):
                    raise RegistryUnavailable(f"{self.name}: {hop}")
                url, trusted = hop.url, trusted and hop.same
        except Broken as broken:
            if broken.kind in {"plain", "connect"}:
                # Perhaps it was started anew, and speaks (or no longer speaks) TLS.
                self._origin = None
            raise
        raise RegistryUnavailable(f"{self.name}: it redirects more than {_MOST_REDIRECTS} times")

    async def ask(
        self,
        method: str,
        target: str,
        use: Callable[[Answer], Awaitable[ResultT]],
        *,
        what: str,
        good: Collection[int] = (200,),
        scopes: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        content: Content = b"",
        attempts: int | None = None,
    ) -> ResultT:
        """A request that is tried again where that may help, and what `use` makes of its answer.

        Args:
            method: See `exchange`.
            target: See `exchange`.
            use: Reads the answer; may raise `Broken`, and is called again then.
            what: What is asked for, to begin an error with.
            good: The statuses that `use` is called for.
            scopes: See `exchange`.
            headers: See `exchange`.
            content: See `exchange`.
            attempts: Other than `RegistryOptions.attempts`.

        Raises:
            ArdockError: It was refused, or goes on failing.
        """
        failures = 0
        while True:
            failures += 1
            asked: float | None = None
            try:
                answer = await self.exchange(method, target, scopes=scopes, headers=headers, content=content)
                try:
                    if answer.status in good:
                        return await use(answer)
                    problem = await self.refusal(answer, what)
                finally:
                    await answer.aclose()
                if answer.status not in TRANSIENT:
                    raise problem
                asked = self.asked(answer)
            except Broken as broken:
                problem = self.unreachable(broken, what)
                if broken.kind in FINAL:
                    raise problem from broken
            await self.pause(problem, failures, asked, attempts)

    async def pause(
        self, problem: ArdockError, failures: int, asked: float | None, attempts: int | None = None
    ) -> None:
        """Wait before the next attempt.

        Raises:
            ArdockError: `problem`: there is to be none.
        """
        decision = decide(failures, attempts or self.options.attempts, asked, self.pace.jitter())
        if isinstance(decision, GiveUp):
            if decision.reason:
                problem.message += f"; {decision.reason}"
                problem.args = (problem.message,)
            raise problem
        await self.pace.sleep(decision.seconds)

    def asked(self, answer: Answer) -> float | None:
        """How long an answer asks to wait, seconds."""
        return retry_after(answer.header("Retry-After"), self.pace.wall())

    async def refusal(self, answer: Answer, what: str) -> ArdockError:
        """The error that an answer means, which is no success."""
        try:
            told = parse_error((await answer.read(LONGEST_ERROR))[:LONGEST_ERROR])
        except Broken:
            told = Told()
        return refusal(answer.status, told, registry=self.name, what=what)

    def unreachable(self, broken: Broken, what: str) -> RegistryUnavailable:
        """The error that a broken exchange means, with a remedy where there is one."""
        if broken.kind == "certificate":
            folder = self.options.certificates[0] if self.options.certificates else "certs.d"
            remedy = (
                f": put the certificate of who vouches for it into {folder}/{self.name}/ca.crt, or name it among the insecure "
                "registries"
            )
            return RegistryUnavailable(f"{what}: {self.name}: {broken.reason}{remedy}")
        if broken.kind == "plain":
            remedy = ": if it is meant to speak without TLS, name it among the insecure registries"
            return RegistryUnavailable(f"{what}: {self.name}: {broken.reason}{remedy}")
        if broken.kind == "refused":
            return RegistryUnavailable(f"{what}: {self.name}: {broken.reason}")
        reason = "cannot be reached" if broken.kind == "connect" else "the connection broke"
        return RegistryUnavailable(f"{what}: {self.name}: {reason}: {broken.reason}")

    async def _authorized(
        self, method: str, url: str, scopes: Sequence[str], headers: Mapping[str, str], content: Content
    ) -> Answer:
        authorization = await self.authorizer.header(scopes)
        answer = await self._send(method, url, _with(headers, authorization), content)
        if answer.status != 401:
            return answer
        challenges = parse_challenges(answer.headers("WWW-Authenticate"))
        again = self.authorizer.refused(authorization, scopes, challenges)
        if again is None:
            return answer
        await answer.aclose()
        return await self._send(method, url, _with(headers, await self.authorizer.header(again)), content)

    async def _send(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> Answer:
        origin = origin_of(url)
        if origin is None:
            raise RegistryUnavailable(f"{self.name}: it names {url[:200]!r}, which is no address")
        own = origin.host == self.place.host and self.place.port in {None, origin.port}
        verify = not is_insecure(origin.host, origin.port, self.options.insecure)
        names = (self.name,) if own else ()
        return await self._transport.send(method, url, origin, headers, content, names=names, verify=verify)

    async def _probe(self) -> Origin:
        """Ask for the API's root, which tells the scheme, and what it takes to be let in."""
        place = self.place
        schemes = [place.scheme] if place.scheme else ["https"]
        if not place.scheme and may_be_plain(place.origin("http"), self.options.insecure):
            schemes.append("http")
        first: Broken | None = None
        for scheme in schemes:
            origin = place.origin(scheme)
            try:
                answer = await self._send("GET", f"{origin}/v2/", {}, b"")
            except Broken as broken:
                if broken.kind not in {"plain", "connect"}:
                    raise
                # Of two, that is told which got further.
                first = broken if first is None or first.kind == "connect" else first
                continue
            await answer.aclose()
            if answer.status == 401:
                self.authorizer.note(parse_challenges(answer.headers("WWW-Authenticate")))
            hop = redirected(answer.url, answer.header("Location"), self.options.insecure)
            if answer.status in _REDIRECTS and not isinstance(hop, str) and hop.origin.host == place.host:
                # From port 80 to 443, as many a server does.
                return hop.origin
            return origin
        assert first is not None, "there is at least one scheme"
        raise first

    async def _token_exchange(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes
    ) -> tuple[int, bytes]:
        failures = 0
        while True:
            failures += 1
            asked: float | None = None
            try:
                answer = await self._token_answer(method, url, headers, content)
                try:
                    body = await answer.read(LONGEST_TOKEN)
                finally:
                    await answer.aclose()
                if answer.status not in TRANSIENT or failures >= self.options.attempts:
                    return answer.status, body
                problem = RegistryUnavailable(f"{self.name}: its token server answers with status {answer.status}")
                asked = self.asked(answer)
            except Broken as broken:
                server = origin_of(url)
                problem = RegistryUnavailable(f"{self.name}: its token server {server}: {broken.reason}")
                if broken.kind in FINAL:
                    raise problem from broken
            await self.pause(problem, failures, asked)

    async def _token_answer(self, method: str, url: str, headers: Mapping[str, str], content: bytes) -> Answer:
        """One exchange with a token server; of its redirects those alone that stay there."""
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._send(method, url, headers, content)
            if answer.status not in (_REDIRECTS if method == "GET" else _SAME_METHOD):
                return answer
            await answer.aclose()
            hop = redirected(url, answer.header("Location"), self.options.insecure)
            if isinstance(hop, str) or not hop.same:
                where = hop if isinstance(hop, str) else f"it redirects to {hop.origin}"
                raise RegistryUnavailable(f"{self.name}: its token server: {where}, where the credentials do not go")
            url = hop.url
        raise RegistryUnavailable(f"{self.name}: its token server redirects more than {_MOST_REDIRECTS} times")


def _with(headers: Mapping[str, str], authorization: str | None) -> Mapping[str, str]:
    return headers if authorization is None else {**headers, "Authorization": authorization}
