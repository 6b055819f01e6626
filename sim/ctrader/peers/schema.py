"""Compares our definitions with the official ones inside ctrader-open-api (facts 5.4, tests B and C).

usage: schema.py FILE           compares FILE, our encoded FileDescriptorSet (test B)
       schema.py FILE PROGRAM   sends every message that FILE declares through PROGRAM, which reads lines
                                "<message> <hex>" and writes each back as our code reads and writes it (test C)

Prints ok or what is wrong, and exits 1 where something is.
"""

import json
import pathlib
import subprocess
import sys

from ctrader_open_api.messages import (
    OpenApiCommonMessages_pb2,
    OpenApiCommonModelMessages_pb2,
    OpenApiMessages_pb2,
    OpenApiModelMessages_pb2,
)
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

OFFICIAL = [
    OpenApiCommonModelMessages_pb2,
    OpenApiCommonMessages_pb2,
    OpenApiModelMessages_pb2,
    OpenApiMessages_pb2,
]

def flatten(files):
    """Message -> field number -> facts, and enum -> value name -> number."""
    messages, enums = {}, {}
    for file in files:
        for message in file.message_type:
            messages[message.name] = {
                field.number: {
                    "name": field.name,
                    "label": FieldDescriptorProto.Label.Name(field.label),
                    "type": FieldDescriptorProto.Type.Name(field.type),
                    "type_name": field.type_name.lstrip("."),
                    "default": field.default_value if field.HasField("default_value") else None,
                    "packed": field.options.packed,
                }
                for field in message.field
            }
        for one in file.enum_type:
            enums[one.name] = {value.name: value.number for value in one.value}
    return messages, enums


def official_files():
    for module in OFFICIAL:
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        yield file


def differences(ours, official, known):
    """Every difference that is not known, and every known one that is not there, as text."""
    our_messages, our_enums = ours
    their_messages, their_enums = official
    for name, fields in our_messages.items():
        absent = set(known["fields_absent"].get(name, []))
        required = set(known["fields_required"].get(name, []))
        theirs = their_messages.get(name)
        if (theirs is None) != (name in known["messages_absent"]):
            yield f"{name}: absent or present against expectation"
        if theirs is None:
            continue
        for number, field in fields.items():
            if field["name"] in absent:
                if number in theirs:
                    yield f"{name}.{field['name']}: known to be absent, and is there"
                continue
            expected = dict(field)
            if field["name"] in required:
                expected["label"] = "LABEL_REQUIRED"
            if theirs.get(number) != expected:
                yield f"{name}.{field['name']}: ours {expected}, theirs {theirs.get(number)}"
        for number in theirs.keys() - fields.keys():
            yield f"{name}: we lack {theirs[number]}"
        for unknown in (absent | required) - {field["name"] for field in fields.values()}:
            yield f"{name}.{unknown}: known to differ, but we do not declare it"
    for name, values in our_enums.items():
        theirs = their_enums.get(name)
        if (theirs is None) != (name in known["enums_absent"]):
            yield f"{name}: absent or present against expectation"
        if theirs is None:
            continue
        absent = known["enum_values_absent"].get(name, [])
        expected = {value: number for value, number in values.items() if value not in absent}
        if theirs != expected:
            yield f"{name}: {sorted(set(expected.items()) ^ set(theirs.items()))}"


def fill(message, seed):
    """Sets every field of a message to a value of its own."""
    for field in message.DESCRIPTOR.fields:
        seed[0] += 1
        many = field.label == field.LABEL_REPEATED
        if field.type == field.TYPE_MESSAGE:
            for _ in range(2 if many else 1):
                fill(getattr(message, field.name).add() if many else getattr(message, field.name), seed)
            continue
        if field.type == field.TYPE_ENUM:
            numbers = [value.number for value in field.enum_type.values]
            values = [numbers[seed[0] % len(numbers)], numbers[-1]]
        elif field.type == field.TYPE_STRING:
            values = [f"text {seed[0]} \u00e9", ""]
        elif field.type == field.TYPE_BYTES:
            values = [bytes([seed[0] % 256, 0, 255]), b""]
        elif field.type == field.TYPE_BOOL:
            values = [True, False]
        elif field.type == field.TYPE_DOUBLE:
            values = [seed[0] + 0.125, -1.5]
        elif field.type in (field.TYPE_INT32, field.TYPE_UINT32):
            values = [seed[0] * 65_537, 2**31 - 1]
        elif field.type == field.TYPE_INT64:
            values = [-seed[0] * 2**33, 2**63 - 1]
        else:
            values = [seed[0] * 2**33, 2**64 - 1]
        if many:
            getattr(message, field.name).extend(values)
        else:
            setattr(message, field.name, values[0])


def round_trip(recode, declared):
    """Sends every message, all fields set, through our code; yields what did not come back as it went."""
    classes = {}
    for module in OFFICIAL:
        for name, descriptor in module.DESCRIPTOR.message_types_by_name.items():
            classes[name] = getattr(module, name)
    sent = []
    for name in sorted(classes.keys() & declared.keys()):
        message = classes[name]()
        fill(message, [len(sent)])
        sent.append((name, message))
    lines = "".join(f"{name} {message.SerializeToString().hex()}\n" for name, message in sent)
    answer = subprocess.run([recode], input=lines, capture_output=True, text=True, timeout=60)
    if answer.returncode != 0:
        yield answer.stderr.strip()
        return
    back = [line.split(" ", 1) for line in answer.stdout.splitlines()]
    if len(back) != len(sent):
        yield f"{len(sent)} messages went, {len(back)} came back"
    for (name, message), (again, payload) in zip(sent, back):
        read = classes[name]()
        read.ParseFromString(bytes.fromhex(payload))
        if again != name or read != message:
            yield f"{name}: went {message}, came back {read}"


def main():
    files = FileDescriptorSet()
    files.ParseFromString(pathlib.Path(sys.argv[1]).read_bytes())
    ours = flatten(files.file)
    if len(sys.argv) > 2:
        problems = list(round_trip(sys.argv[2], ours[0]))
    else:
        known = json.loads(pathlib.Path(__file__).with_name("known-differences.json").read_text())
        problems = list(differences(ours, flatten(official_files()), known))
    print("ok" if not problems else "failed\n  " + "\n  ".join(problems))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
