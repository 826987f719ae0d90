"""Java by a bootstrap: a virtual machine of the host runs in a sandbox, and stays within its limits."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from triggerhub.model import Crashed, Outcome, Returned
from triggerhub.settings import MB, Function

from .conftest import Bench, invocation

pytestmark = pytest.mark.skipif(not shutil.which("javac"), reason="no JDK is installed")

DOC = Path(__file__).parents[2] / "docs/runtimes.md"
CLIENT = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda"
MAIN = """
package com.amazonaws.services.lambda.runtime.api.client;

import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.util.*;

/** Stands in for AWS's client: same name, same arguments, the same API. */
public final class AWSLambda {
    static final String API = "http://" + System.getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/";
    static final List<byte[]> HELD = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        while (true) {
            HttpURLConnection next = (HttpURLConnection) new URL(API + "next").openConnection();
            String event = new String(next.getInputStream().readAllBytes());
            String said;
            try {
                said = handle(event.replace("\\"", ""), arguments[0]);
            } catch (Throwable thrown) {
                HELD.clear();
                said = thrown.getClass().getSimpleName();
            }
            String id = next.getHeaderField("Lambda-Runtime-Aws-Request-Id");
            HttpURLConnection answer = (HttpURLConnection) new URL(API + id + "/response").openConnection();
            answer.setRequestMethod("POST");
            answer.setDoOutput(true);
            answer.getOutputStream().write(("\\"" + said + "\\"").getBytes());
            answer.getResponseCode();
        }
    }

    static String handle(String what, String handler) throws Exception {
        switch (what) {
            case "handler":
                return handler;
            case "heap":
                while (true) HELD.add(new byte[1 << 20]);
            case "beside":
                while (true) {
                    java.nio.ByteBuffer buffer = java.nio.ByteBuffer.allocateDirect(8 << 20);
                    for (int at = 0; at < buffer.capacity(); at += 4096) buffer.put(at, (byte) 1);
                    KEPT.add(buffer);
                }
            case "threads":
                Thread[] threads = new Thread[100];
                for (int n = 0; n < threads.length; n++) (threads[n] = new Thread(() -> {})).start();
                for (Thread one : threads) one.join();
                return "joined";
            case "run":
                return new String(new ProcessBuilder("id", "-u").start().getInputStream().readAllBytes()).trim();
            default:
                return Files.readString(Path.of(what)).trim().replace('\\n', ' ');
        }
    }

    static final List<java.nio.ByteBuffer> KEPT = new ArrayList<>();
}
"""
MODERN = """
import java.net.URI;
import java.net.http.*;

/** Speaks the API by java.net.http, which asks every server for HTTP/2 and waits with threads and selectors of its own. */
public final class Modern {
    static final String API = "http://" + System.getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/";

    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        while (true) {
            HttpResponse<String> next = client.send(
                HttpRequest.newBuilder(URI.create(API + "next")).build(), HttpResponse.BodyHandlers.ofString());
            String id = next.headers().firstValue("Lambda-Runtime-Aws-Request-Id").get();
            HttpRequest answer = HttpRequest.newBuilder(URI.create(API + id + "/response"))
                .POST(HttpRequest.BodyPublishers.ofString("[" + next.body() + "]")).build();
            client.send(answer, HttpResponse.BodyHandlers.discarding());
        }
    }
}
"""


def recipe() -> str:
    """Return the bootstrap that the documentation shows."""
    _, _, rest = DOC.read_text().partition("## Java")
    return rest.partition("```sh\n")[2].partition("```")[0]


@pytest.fixture(scope="module")
def jar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("java")
    source = folder / "AWSLambda.java"
    source.write_text(MAIN)
    subprocess.run(["javac", "--release", "11", "-d", folder / "classes", source], check=True, timeout=120)
    subprocess.run(
        ["jar", "--create", "--file", folder / "client.jar", "-C", folder / "classes", "."], check=True, timeout=120
    )
    return folder / "client.jar"


def java(bench: Bench, jar: Path, **settings: Any) -> Function:
    path = bench.file("bootstrap", recipe(), 0o755)
    (bench.code / "lib").mkdir(exist_ok=True)
    shutil.copy(jar, bench.code / "lib")
    handler = "example.Handler::handleRequest"
    return bench.function("provided", command=(str(path),), handler=handler, **{"memory": 256 * MB, **settings})


def answer(outcome: Outcome) -> Any:
    assert isinstance(outcome, Returned), outcome
    return json.loads(outcome.payload)


async def test_java_s_own_client_of_http_speaks_the_api(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "Modern.java").write_text(MODERN)
    words = ["javac", "--release", "11", "-d", bench.code / "lib", tmp_path / "Modern.java"]
    subprocess.run(words, check=True, timeout=120)
    text = recipe().partition("-cp")[0] + '-cp "$LAMBDA_TASK_ROOT/lib" Modern\n'
    path = bench.file("bootstrap", text, 0o755)
    async with bench.worker(bench.function("provided", command=(str(path),), memory=256 * MB)) as worker:
        for event in ({"a": "é"}, "x" * 100_000):
            assert answer(await worker.invoke(invocation(event))) == [event]


def test_the_documented_bootstrap_starts_the_client() -> None:
    assert CLIENT in recipe()


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_java_is_started_by_the_documented_bootstrap(bench: Bench, jar: Path, level: str) -> None:
    bench.level = level
    async with bench.worker(java(bench, jar)) as worker:
        assert answer(await worker.invoke(invocation("handler"))) == "example.Handler::handleRequest"
        assert answer(await worker.invoke(invocation("threads"))) == "joined"
        # More than the heap is the virtual machine's own affair: the worker lives on.
        assert answer(await worker.invoke(invocation("heap"))) == "OutOfMemoryError"
        assert worker.alive


async def test_java_sees_its_sandbox_alone(bench: Bench, jar: Path) -> None:
    secret = bench.root / "secret"
    secret.write_text("x")
    async with bench.worker(java(bench, jar)) as worker:
        assert answer(await worker.invoke(invocation("run"))) == "1000"
        assert answer(await worker.invoke(invocation(str(secret)))) == "NoSuchFileException"
        assert answer(await worker.invoke(invocation("/proc/keys"))) == ""
        assert answer(await worker.invoke(invocation("/proc/1/environ"))) in (
            "NoSuchFileException",
            "AccessDeniedException",
        )


async def test_what_java_holds_beside_its_heap_is_counted(bench: Bench, jar: Path) -> None:
    function = java(bench, jar)
    path = bench.file("bootstrap", recipe().replace("exec java", "exec java -XX:MaxDirectMemorySize=4g"), 0o755)
    outcome = await bench.call(function, "beside", request_id="r1")
    assert path.exists()
    if isinstance(outcome, Returned):
        # Where no control group counts, the process is refused more before it is measured.
        assert answer(outcome) == "OutOfMemoryError"
    else:
        assert isinstance(outcome, Crashed)
        assert outcome.fault.type == "Runtime.OutOfMemory"
