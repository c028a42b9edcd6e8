"""Makes scalars.tfevents with TensorBoard's own classes, and checks files.

    pip install tensorboard
    python tests/golden/tensorboard/make.py             # write the golden file
    python tests/golden/tensorboard/make.py FOLDER      # print what it reads

TensorBoard 2.21.
"""

import os
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

if len(sys.argv) > 1:
    accumulator = EventAccumulator(sys.argv[1])
    accumulator.Reload()
    for tag in sorted(accumulator.Tags()["scalars"]):
        print(tag, [(e.step, e.value, e.wall_time) for e in accumulator.Scalars(tag)])
    sys.exit()


def scalars(**values):
    value = Summary.Value
    items = values.items()
    return Summary(value=[value(tag=k.replace("_", "/"), simple_value=v) for k, v in items])


path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scalars.tfevents")
with open(path, "wb") as file:
    writer = RecordWriter(file)
    for event in (
        Event(wall_time=1700000000.25, file_version="brain.Event:2"),
        Event(wall_time=1700000000.5, step=3, session_log=SessionLog(status=SessionLog.START)),
        Event(wall_time=1700000001.0, step=3, summary=scalars(train_loss=2.302585, train_accuracy=0.1)),
        Event(wall_time=1700000002.0, step=2**40, summary=scalars(test_loss=float("nan"))),
    ):
        writer.write(event.SerializeToString())
