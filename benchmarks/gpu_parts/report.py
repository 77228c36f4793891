"""The report, written after every figure so that a crash loses none, and the time limit."""

import json
import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Values = dict[str, Any]
GRACE = 20.0  # seconds before the end in which nothing new is begun


class Report:
    """`folder`/report.json and `folder`/table.md. All is over after `minutes`."""

    def __init__(self, folder: Path, minutes: float) -> None:
        self.folder, self.minutes, self.began = folder, minutes, time.monotonic()
        self.share, self.part, self.rows = 1.0, "", []
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        # Compiling and capturing cannot be asked to stop.
        self._alarm = threading.Timer(60 * minutes, self._stop)
        self._alarm.daemon = True
        self._alarm.start()

    def begin(self, part: str, share: float = 1.0) -> None:
        """A part that is over when `share` of all the time has passed."""
        self.part, self.share = part, share
        print(f"\n{part} ({self.left():.0f} s left)", flush=True)

    def left(self) -> float:
        """Seconds in which this part may still begin something."""
        grace = 0.0 if self.share < 1 else GRACE * min(1.0, self.minutes / 4)
        return 60 * self.minutes * self.share - grace - (time.monotonic() - self.began)

    def card(self, device: torch.device) -> None:
        self.begin("machine")
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        self.add("card", name=name, torch=torch.__version__, cuda=torch.version.cuda, cores=os.cpu_count(),
                 date=time.strftime("%Y-%m-%d"))  # fmt: skip

    def add(self, what: str, **values: Any) -> None:
        self.rows.append({"part": self.part, "what": what, **values})
        shown = "  ".join(f"{name} {_text(value)}" for name, value in values.items())
        print(f"  {what}: {shown}", flush=True)
        self._write()

    def attempt(self, what: str, measure: Callable[[], Values | None], needs: float = 0.0) -> Values | None:
        """Measures and reports, unless fewer than `needs` seconds are left; an error is reported, and all goes on."""
        if self.left() < needs:
            self.add(what, skipped="no time was left")
            return None
        try:
            values = measure()
        except torch.cuda.OutOfMemoryError:
            self.add(what, error="does not fit into the memory")
        except Exception as error:
            (self.folder / "errors.txt").open("a").write(f"{self.part}, {what}\n{traceback.format_exc()}\n")
            self.add(what, error=f"{type(error).__name__}: {error}".splitlines()[0][:200])
        else:
            if values is not None:
                self.add(what, **values)
            return values
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return None

    def end(self) -> None:
        self._alarm.cancel()
        self.add("end", seconds=round(time.monotonic() - self.began, 1))
        print("\n" + self.table())

    def table(self) -> str:
        lines = []
        for part in dict.fromkeys(row["part"] for row in self.rows):
            rows = [row for row in self.rows if row["part"] == part]
            names = list(dict.fromkeys(name for row in rows for name in row if name not in ("part", "what")))
            lines += ["", f"| {part} | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
            for row in rows:
                cells = (_text(row.get(name, "")) for name in names)
                lines.append(f"| {row['what']} | " + " | ".join(cells) + " |")
        return "\n".join(lines).strip()

    def _write(self) -> None:
        texts = {"report.json": json.dumps(self.rows, indent=1), "table.md": self.table() + "\n"}
        with self._lock:
            for name, text in texts.items():
                temporary = self.folder / f".{name}"
                temporary.write_text(text)
                temporary.replace(self.folder / name)

    def _stop(self) -> None:
        self.add("end", stopped=f"at the limit of {self.minutes:g} minutes, in the part {self.part}")
        print("\n" + self.table(), flush=True)
        os._exit(3)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
