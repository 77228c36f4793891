"""When the frames of a user are due: the clock of one conversation among many."""

from duologue.audio.framing import FRAME_SECONDS

NEVER = float("inf")
EARLY_SECONDS = 0.04  # how early a frame may be heard, so that the session catches up after a late one
GRACE_SECONDS = 0.06  # how long a missing frame is waited for
WINDOW_FRAMES = 25  # frames over which lag and earliness are judged
LAG_FRAMES = 4  # if more than these wait all through a window, all but one are dropped
CATCH_UP_SECONDS = 0.04  # how far the clock may move forward in a window, towards a user who is ahead


class UserClock:
    """When the next frame of the user is due. It starts with the first frame that arrives, and again after a gap."""

    def __init__(self, now: float, patient: bool = False):
        self.next = now  # when the next frame is expected
        self._patient = patient  # a frame that is late is waited for, however long
        self.begin()

    def begin(self) -> None:
        """A new conversation."""
        self._gap = True  # the last frame was replaced by silence, because none had arrived
        self._last_step = -FRAME_SECONDS
        self._new_window()

    def _new_window(self) -> None:
        self._in_window, self._least_waiting, self._least_early = 0, WINDOW_FRAMES, 1.0

    def start(self, now: float) -> None:
        """The slot of the conversation is ready."""
        self._last_step = self.next = now

    def resume(self, now: float) -> None:
        """After a pause."""
        self._gap, self.next = True, now

    def ready_at(self, oldest: float | None) -> float:
        """When to step, if the frame that waits longest arrived at `oldest` (None: no frame waits)."""
        if oldest is None and self._patient:
            return NEVER
        if oldest is None:
            return self.next + GRACE_SECONDS
        # After a gap the clock restarts with this frame.
        return max(oldest, self._last_step + FRAME_SECONDS / 2 if self._gap else self.next - EARLY_SECONDS)

    @property
    def first_at(self) -> float:
        """When to step for the first time, with silence."""
        return self._last_step

    def heard(self, came: float, waiting: int) -> bool:
        """A frame that arrived at `came` is heard now, while `waiting` others wait. Returns whether too many have
        waited all through a window, so that all but the newest should be dropped."""
        if self._gap:
            self.next, self._gap = came, False
        self._in_window += 1
        self._least_waiting = min(self._least_waiting, waiting)
        self._least_early = min(self._least_early, self.next - EARLY_SECONDS - came)
        if self._in_window < WINDOW_FRAMES:
            return False
        lags = self._least_waiting > LAG_FRAMES and not self._patient  # which hears everything
        if not lags and self._least_early > 0:
            self.next -= min(self._least_early, CATCH_UP_SECONDS)
        self._new_window()
        return lags

    def missed(self) -> None:
        """No frame has arrived in time."""
        self._gap = True

    def stepped(self, now: float) -> None:
        """A step begins. After a stall of the machine the clock does not catch up: the whole conversation would be
        late from then on."""
        self._last_step = now
        # It does after a stall of the connection, whose frames then arrive together.
        self.next = (self.next if self._patient else max(self.next, now - 2 * FRAME_SECONDS)) + FRAME_SECONDS
