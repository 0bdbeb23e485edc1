"""Public callables that `fuzz_cases` makes no calls of, and why. A * stands for anything."""

from fnmatch import fnmatchcase

WHY = {
    "takes nothing": "run.utc_now recipe.Recipe.branches recipe.Recipe.fall",
    "rows that a Calibration holds": "found_rates.rate_points",
    "the second half of fit_isoflop, which is called": "curves.line_of_sizes",
    "called by ceiling_evidence": "ceiling.check_bounded",
    "the second half of check, which is called": "run.Run.agree",
    "commands and whole sweeps: they take parsed arguments, and tests/test_cli.py calls them with "
    "bad ones": """
        cli.* terminal.* options.* taskfile.* examples.commands.* examples.example_*
        examples.demo.*""",
    "records that functions of the package fill; nothing is asked of them as they are made": """
        analysis.ScalingAnalysis found_rates.Calibration rate_check.RateCheck curves.IsoFlopFit
        curves.EnvelopeFit power_law.PowerLawFit lawfit.LawFit lawfit.Answer flops.FlopCount
        result.Result verification.Verification verification.Verification.of solver.Problem
        solver.Solution experiment.Experiment plan.SweepPlan plan.TrunkPlan run.Run run.RunTable
        examples.smalllm.TrainedLM store.RunStore progress.SweepProgress feed.Feed
        explorer.Explorer errors.FitError errors.FitWarning""",
    "parts of a network, in its innermost loop: torch's own errors name the shapes, and a check "
    "costs time in every step": """
        examples.gpt.RMSNorm* examples.gpt.RotaryEmbedding* examples.gpt.CausalSelfAttention*
        examples.gpt.FeedForward* examples.gpt.TransformerBlock* examples.gpt.GPT.forward
        examples.gpt.rotate_half examples.gpt.apply_rotary_pos_emb examples.gpt.gpt_loss_fn
        examples.vit.ViTBlock* examples.vit.VisionTransformer.forward examples.vit.patchify
        examples.vit.accuracy examples.vit.vit_loss_fn""",
    "a step of create_model_for_scaling, which is called and checks": """
        examples.gpt_config.shapes_near""",
    "the inside of a fit, a hundred times in each: what reaches it was checked by fit_parametric "
    "and LawFit's methods": """
        forms.* optimum.* coupled.* posterior.* freedom.* inputs.* intervals.* solver.* lawfit.ends
        ceiling.baseline_of lawfit.as_array lawfit.LawFit.propagate lawfit.LawFit.problem
        lawfit.LawFit.form_error
        laws.checked_counts laws.Law.work laws.Law.natural laws.Law.rescaled laws.Law.loss
        laws.Law.centred
        laws.Law.best_on_budget""",
    "batches, in every step of training: positions come from the feed": """
        dataset.DataSource.batch sample.Pair.batch sample.tokens_of sample.as_tensors
        examples.corpus.PythonCorpus.batch examples.tinystories.TinyStoriesDataset.batch""",
    "the inside of plan_sweep and plan_optimum, which are called: what reaches it was checked "
    "there": """
        family.Family* layout.cells_where layout.feasible layout.lay_out flops.rule_factor""",
    "they answer for any object at all": """
        sample.name_of dataset.is_hugging_face examples.tinystories.tokenizer_files""",
    "the inside of best_rate, calibrate and check_rates, which are called and check what they are "
    "given": "rates.Parabola* rates.try_rates",
    "it gives back what it was given; read_runs, which judges that, is called": """
        table.as_table""",
    "it raises whatever it is given": "errors.refuse names.refuse_missing",
    "the inside of read_runs and of an analysis, which are called: tables come to them as pandas "
    "made them": """
        names.plain_name names.find_columns names.about_columns names.likely_columns
        shape.thinned""",
    "steps of Explorer.table and Explorer.figure, which are called": """
        explore_*Explorer.* explorer.Explorer.*""",
    "pieces of widgets, which ipywidgets checks by itself; test_widgets drives them": """
        explorer.control explorer.log_slider explorer.choice_slider explorer.some_or_none
        explorer.int_slider explorer.dropdown explorer.number explorer.button explorer.Ticks
        *.explore sweep.TrainingRunner.monitor monitor.Monitor*""",
    "strokes of a picture: matplotlib checks what it draws, and the plots and explorers that call "
    "them are called": """
        style.tick_steps style.power_of_ten style.log_axis style.log_scale style.quiet style.label
        style.simulated_mark style.note_gap style.png style.picture_html""",
    "between a plot and the answer it draws: what reaches them was checked by the plot": """
        style.axes_or_new style.new_figure style.answers_at style.drawable""",
    "what happens while a sweep trains and on disk: tests/faults breaks it call by call": """
        store.* checkpoint.* files.* lease.* orders.* workers.* progress.* feed.* train.* trunk.*
        watch.* device.* sweep.TrainingRunner.check sweep.TrainingRunner.run_sweep_from_plan
        text.html_table lazy.lazily experiment.stable_hash experiment.Experiment.*
        plan.SweepPlan.check run.status_html run.Run.check run.Run.under run.Run.to_json
        run.Run.from_json result.Result.load result.Result.train""",
    "they need data or a trained model that is not here": """
        examples.cifar.CIFAR10Dataset.* examples.smalllm.TrainedLM.best""",
}


def left_out(name):
    "Why no calls are made of it, or None"
    found = (w for w, names in WHY.items() if any(fnmatchcase(name, n) for n in names.split()))
    return next(found, None)
