"""A conversation with a model in this process, by microphone and speaker."""

import gc
import threading

from duologue.audio.device import Devices, NoDevice
from duologue.cli.screen import Screen
from duologue.engine.backend import open_backend
from duologue.engine.batcher import Batcher
from duologue.engine.options import DEFAULT, Options
from duologue.errors import InputError
from duologue.lm.sampling import Sampling
from duologue.weights import Model


def talk(
    model: Model, sampling: Sampling, stop: threading.Event | None = None, options: Options = DEFAULT
) -> None:
    """Talk to a model in this process until Ctrl-C, or until `stop`. Raises NoDevice if there is no microphone."""
    engine, news, stop = (
        Batcher(open_backend(model, options=options), model.tokenizer),
        threading.Event(),
        stop or threading.Event(),
    )
    gc.freeze()  # as the server does
    engine.start()
    try:
        session = engine.open(sampling, news.set)
        with Devices(session.push) as devices, Screen() as screen:
            told = engine.now()
            while not (session.ended or stop.is_set()):
                news.wait(0.2)
                news.clear()
                for said in session.take():
                    devices.play(said.wav_S)
                    screen.say("you", said.user_text)
                    screen.say("agent", said.text)
                if engine.now() - told >= 1:
                    told, counts = engine.now(), session.counts()
                    delay = counts.response + devices.waiting + devices.latency
                    screen.figures(
                        f"answer {1000 * counts.response:.0f} ms after a frame, heard after {1000 * delay:.0f} ms; "
                        f"late {counts.late}, missing {counts.missing}, dropped {counts.dropped} "
                        f"of {counts.frames} frames"
                    )
            if session.ended:
                raise InputError(f"{model.name} failed in the middle of the conversation")
    except NoDevice as error:
        raise NoDevice(f"{error}; talk to it in a browser instead: duologue serve") from None
    except KeyboardInterrupt:
        pass
    finally:
        engine.close()
