"""A record of duels, as a table and as a figure."""

OURS, THEIRS = "widelinear", "neural-tangents"


def sides(row):
    """Who is measured, and against whom."""
    return row["case"].get("sides", (OURS, THEIRS))


def floor_seconds(row):
    """No program on this machine can take less: its arithmetic, its memory traffic or its random numbers alone."""
    return max(row["case"].get(kind, 0) / row["machine"].get(kind, 1) for kind in ("flops", "bytes", "normals"))


def table(rows):
    """One line of Markdown for each case."""
    lines = []
    for row in rows:
        ours, theirs = (row[name] for name in sides(row))
        ratio, goal = ours["cpu"] / theirs["cpu"], row["case"]["goal"]
        verdict = "" if goal is None else "met" if ratio <= goal else "missed"
        lines.append(
            f"| {row['case']['name']} | {ours['cpu']:.3g} s | {theirs['cpu']:.3g} s | {ratio:.2f} "
            f"| {goal or ''} | {verdict} | {ours['wall'] / theirs['wall']:.2f} "
            f"| {ours['cpu'] / floor_seconds(row):.1f} | {ours['extra_mb']:.0f} | {theirs['extra_mb']:.0f} "
            f"| {ours['first_call_cpu'] / theirs['first_call_cpu']:.2f} |"
        )
    return "\n".join(lines)


def speed_table(rows):
    """The whole table, with its head."""
    head = "| case | ours | theirs | ratio | goal | | wall | floor | extra MB, ours | theirs | first call |"
    return [head, "|---" * 11 + "|", table(rows)]


def precision_table(rows):
    """Relative errors of the tangent kernel in float32, one line of Markdown for each network."""
    head = (
        "| network | diagonal, ours | theirs | near repetitions, ours | theirs "
        "| smallest eigenvalue, ours | theirs | double |"
    )
    lines = [head, "|---" * 8 + "|"]
    for row in rows:
        cells = [
            f"{row[name][key]:.1e}"
            for key in ("diagonal", "near repetitions", "smallest eigenvalue")
            for name in (OURS, THEIRS)
        ]
        lines.append(
            f"| {row['activation']}, {row['depth']} layers | {' | '.join(cells)} | {row['smallest eigenvalue']:.1e} |"
        )
    return lines


def write_tables(path, mark, *tables):
    """Put tables between their marks."""
    text = path.read_text()
    start = text.index("\n", text.index(f"<!-- {mark}")) + 1
    lines = "\n\n".join("\n".join(lines) for lines in tables)
    path.write_text(text[:start] + lines + "\n" + text[text.index("<!-- end -->", start) :])


def draw(rows, path):
    """CPU time of both as multiples of the floor, case by case."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, axes = plt.subplots(figsize=(8, 0.3 * len(rows) + 1.2), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        floor = floor_seconds(row)
        times = [row[name]["cpu"] / floor for name in sides(row)]
        axes.plot(times, [place, place], color="0.8", zorder=1)
        axes.scatter(times[0], place, color="C0", label=OURS if place == 0 else None, zorder=2)
        axes.scatter(times[1], place, color="C1", marker="s", label=THEIRS if place == 0 else None, zorder=2)
    axes.set_yticks(range(len(rows)), [row["case"]["name"] for row in reversed(rows)], fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.axvline(1, color="black", lw=0.8)
    axes.set_xlabel("CPU time, as a multiple of the machine's floor")
    figure.legend(loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)
