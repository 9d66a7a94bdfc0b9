# Which notebook makes which file from which. Started by `qkld run STUDY` (or `make reproduce`), which checks the
# parameters, locks the study and calls Snakemake with the run folder as its working directory.
#
# A job runs again where a value in its `params:` changed (qkld.workflow.rules says which), where an input is newer and of
# other content, or where its inputs are others. Stores and partial results lie outside declared outputs, so a killed
# job goes on where it was. Executed notebooks are logs: Snakemake keeps them, with their traceback, when a cell fails.
from qkld.study.params import load_params
from qkld.study.paths import StudyPaths
from qkld.workflow import rules as flow
from qkld.workflow.plan import answered_labels, basis_floors, second_run_labels

study = load_params(config["study"])
paths = StudyPaths(study.study)
cores = int(config["cores"])
has_storage = workflow.storage_settings.default_storage_provider is not None


def declared(path):
    return flow.declared_name(path, paths, storage=has_storage)


def outputs(rule):
    return [declared(path) for path in flow.outputs(study, paths, rule)]


def made_before(wildcards):
    """What notebook 00 makes for a model; a basis that is made anew runs by that alone no build again."""
    basis = flow.basis_of(study, wildcards.label)
    return ancient(declared(paths.basis_seal(basis.name))) if basis else outputs("make_quants")


def log_of(rule, label=None):
    return declared(paths.notebook(flow.job_name(rule, label)))


def values(rule):
    """The values of a job that Snakemake compares with those of its last run."""
    return lambda wildcards: flow.rule_values(study, rule, dict(wildcards).get("label"))


def memory(rule):
    return lambda wildcards: flow.memory_mb(study, rule, dict(wildcards).get("label"))


def command(rule, told_apart=""):
    stage = flow.RULES[rule].notebook
    run = f"qkld notebook {stage} --study {study.study} {told_apart}"
    return f"{run} --threads {{threads}} --output {{log}} --declared {{output}}"


rule all:  # every file, because a fresh clone brings the figures and nothing that they were made from
    input:
        [declared(path) for path in flow.declared_files(study, paths)],


if flow.made_files(study):  # else the study has no notebook 00

    rule make_quants:
        output:
            outputs("make_quants"),
        log:
            log_of("make_quants"),
        params:
            values=values("make_quants"),
        threads: cores
        resources:
            mem_mb=memory("make_quants"),
        shell:
            command("make_quants")


if flow.bases_to_make(study, paths):  # of builds; each is made when its builds are to be measured, and removed after the last of them

    rule make_basis:
        input:
            outputs("reference_corpora"),  # so that what is made can be measured at once: a disk holds few bases
            outputs("reference_benchmarks"),
        output:
            declared(paths.basis_seal("{label}")),
        log:
            log_of("make_basis", "{label}"),
        params:
            values=values("make_basis"),
        threads: max(1, cores // 2)
        resources:
            mem_mb=memory("make_basis"),
        shell:
            command("make_basis", "--basis {wildcards.label}")

    rule forget_basis:
        input:
            lambda wildcards: [declared(path) for path in flow.measured_in(study, paths, wildcards.label)],
        output:
            declared(paths.basis_removed("{label}")),
        priority: 3
        shell:
            f"qkld forget {study.study} --basis {{wildcards.label}} --declared {{output}}"


rule reference_corpora:
    output:
        outputs("reference_corpora"),
    log:
        log_of("reference_corpora"),
    params:
        values=values("reference_corpora"),
    threads: flow.job_threads(study, "reference_corpora", cores)
    resources:
        mem_mb=memory("reference_corpora"),
    shell:
        command("reference_corpora", "--part corpora")


rule reference_benchmarks:
    output:
        outputs("reference_benchmarks"),
    log:
        log_of("reference_benchmarks"),
    params:
        values=values("reference_benchmarks"),
    threads: flow.job_threads(study, "reference_benchmarks", cores)
    resources:
        mem_mb=memory("reference_benchmarks"),
    shell:
        command("reference_benchmarks", "--part benchmarks")


rule quant_kld:
    input:
        rules.reference_corpora.output,
        made_before,
    output:
        tokens=declared(paths.kld("{label}")),
        fidelity=declared(paths.fidelity("{label}")),
    log:
        log_of("quant_kld", "{label}"),
    wildcard_constraints:
        label=flow.only(flow.labels_to_run(study, paths, "quant_kld")),  # the others' tables were taken, and are there
    params:
        values=values("quant_kld"),
    priority: 2  # the longest jobs first, so that no core is left alone with one at the end
    threads: flow.job_threads(study, "quant_kld", cores)
    resources:
        mem_mb=memory("quant_kld"),
    shell:
        command("quant_kld", "--quant {wildcards.label}")


rule benchmark_scores:
    input:
        rules.reference_benchmarks.output,
        made_before,
    output:
        declared(paths.items("{label}")),
    log:
        log_of("benchmark_scores", "{label}"),
    wildcard_constraints:
        label=flow.only(flow.labels_to_run(study, paths, "benchmark_scores")),
    params:
        values=values("benchmark_scores"),
    priority: 1
    threads: flow.job_threads(study, "benchmark_scores", cores)
    resources:
        mem_mb=memory("benchmark_scores"),
    shell:
        command("benchmark_scores", "--model {wildcards.label}")


rule cohort:
    input:
        [declared(paths.fidelity(label)) for label in flow.measured_labels(study)],
        [declared(paths.items(label)) for label in (*answered_labels(study), *basis_floors(study))],
    output:
        outputs("cohort"),
    log:
        log_of("cohort"),
    params:
        values=values("cohort"),
    shell:
        command("cohort")


rule correlation:
    input:
        rules.cohort.output,
        [declared(paths.kld(label)) for label in flow.measured_labels(study)],
    output:
        outputs("correlation"),
    log:
        log_of("correlation"),
    params:
        values=values("correlation"),
    shell:
        command("correlation")


rule silent_zone:
    input:
        rules.cohort.output,
    output:
        outputs("silent_zone"),
    log:
        log_of("silent_zone"),
    params:
        values=values("silent_zone"),
    shell:
        command("silent_zone")


rule volume_direction:
    input:
        rules.cohort.output,
        rules.silent_zone.output,
        [declared(paths.items(label)) for label in second_run_labels(study)],
    output:
        outputs("volume_direction"),
    log:
        log_of("volume_direction"),
    params:
        values=values("volume_direction"),
    shell:
        command("volume_direction")


rule prompts:
    input:
        rules.cohort.output,
        rules.silent_zone.output,
    output:
        outputs("prompts"),
    log:
        log_of("prompts"),
    params:
        values=values("prompts"),
    shell:
        command("prompts")


rule findings:
    input:
        rules.cohort.output,
        rules.correlation.output,
        rules.silent_zone.output,
        rules.volume_direction.output,
        rules.prompts.output,
    output:
        outputs("findings"),
    log:
        log_of("findings"),
    params:
        values=values("findings"),
    shell:
        command("findings")
