"""The names of `__init__.py` as plain imports, for editors and type checkers.

A test compares the two.
"""

from . import demos as demos
from .analysis.bias.attributor import BiasAttributor as BiasAttributor
from .analysis.bias.debiasing import debias as debias
from .analysis.bias.development import add_bias as add_bias
from .analysis.comparison import (
    compare_runs as compare_runs,
    comparison_table as comparison_table,
    plot_comparison as plot_comparison,
)
from .analysis.examples.cartography import add_cartography as add_cartography
from .analysis.examples.learning_dynamics import (
    LearningDynamicsAnalyzer as LearningDynamicsAnalyzer,
)
from .analysis.examples.memorization import add_memorization as add_memorization
from .analysis.examples.memorization_detector import MemorizationDetector as MemorizationDetector
from .analysis.examples.mislabeled import find_mislabeled as find_mislabeled
from .analysis.features.feature_evolution import FeatureEvolutionTracker as FeatureEvolutionTracker
from .analysis.features.feature_measures import add_feature_measures as add_feature_measures
from .analysis.features.projections import add_projections as add_projections
from .analysis.gradients.gradient_flow import GradientFlowAnalyzer as GradientFlowAnalyzer
from .analysis.transition.phase_transition import (
    PhaseTransitionAttributor as PhaseTransitionAttributor,
)
from .analysis.transition.transitions import add_transitions as add_transitions
from .analysis.whole_board import complete as complete
from .attribution.attributor.features import FeatureMismatchError as FeatureMismatchError
from .attribution.attributor.outputs_on_record import OutputsDifferError as OutputsDifferError
from .attribution.gradients.joining import FactorMismatchError as FactorMismatchError
from .attribution.gradients.proof import UnsupportedModelError as UnsupportedModelError
from .attribution.methods.feature_neighbours import (
    FeatureKNNAttributor as FeatureKNNAttributor,
    RepresentationSimilarityAttributor as RepresentationSimilarityAttributor,
)
from .attribution.methods.gradient_similarity import (
    GradientSimilarityAttributor as GradientSimilarityAttributor,
    TracInAttributor as TracInAttributor,
)
from .attribution.methods.influence import (
    InfluenceFunctionAttributor as InfluenceFunctionAttributor,
)
from .attribution.methods.source import SourceAttributor as SourceAttributor
from .attribution.methods.trak import TRAKAttributor as TRAKAttributor
from .attribution.over_epochs.delayed import DelayedGeneralizationTRAK as DelayedGeneralizationTRAK
from .attribution.over_epochs.trajectory import attribute_trajectory as attribute_trajectory
from .attribution.solve.solvers import NotConvergedError as NotConvergedError
from .attribution.queries.query import Query as Query, QuerySet as QuerySet
from .attribution.traker.store import UnfinishedError as UnfinishedError
from .attribution.traker.traker import TRAKer as TRAKer
from .attribution.units import WorkerLostError as WorkerLostError
from .attribution.unrolled.attributor import UnrolledAttributor as UnrolledAttributor
from .attribution.unrolled.memory_needed import TooLittleMemoryError as TooLittleMemoryError
from .attribution.unrolled.mixed import mixed_scores as mixed_scores
from .attribution.unrolled.recorded import add_unrolled_scores as add_unrolled_scores
from .attribution.walk import attribute as attribute
from .checkpoints.formats import model_checkpoints as model_checkpoints
from .checkpoints.store import (
    load_into as load_into,
    save_checkpoint as save_checkpoint,
)
from .data.ids import (
    ids_of as ids_of,
    with_ids as with_ids,
)
from .data.served import Served as Served

from .errors import (
    ArchitectureMismatchError as ArchitectureMismatchError,
    CheckpointError as CheckpointError,
    DGExplorerError as DGExplorerError,
    DamagedRecordError as DamagedRecordError,
    DataError as DataError,
    MissingFileError as MissingFileError,
    MissingGroupError as MissingGroupError,
    NewerSchemaError as NewerSchemaError,
    NonFiniteError as NonFiniteError,
    NotARunError as NotARunError,
    ReadOnlyRunError as ReadOnlyRunError,
    RunError as RunError,
    SchemaError as SchemaError,
    SettingError as SettingError,
    ShuffledLoaderError as ShuffledLoaderError,
    UnknownExampleError as UnknownExampleError,
    UnsafeCheckpointError as UnsafeCheckpointError,
)
from .evaluation.retrainings.brittle import brittleness as brittleness
from .evaluation.retrainings.counterfactual import (
    counterfactual_check as counterfactual_check,
    leave_one_out as leave_one_out,
    window_ablation as window_ablation,
)
from .evaluation.lds import (
    MisalignedScoresError as MisalignedScoresError,
    linear_datamodeling_score as linear_datamodeling_score,
)
from .evaluation.lds_by_method import NoScoresError as NoScoresError
from .evaluation.light import validity_light as validity_light
from .evaluation.mislabels import mislabel_auroc as mislabel_auroc
from .evaluation.retraining import (
    ResumeMismatchError as ResumeMismatchError,
    random_subsets as random_subsets,
    subset_retraining as subset_retraining,
)
from .evaluation.retrainings.again import replicate as replicate, retrain as retrain
from .evaluation.retrainings.calibration import calibrate as calibrate
from .evaluation.retrainings.lds_over_time import lds_over_time as lds_over_time
from .evaluation.retrainings.what_if import what_if as what_if, what_ifs as what_ifs
from .evaluation.smoothness import derivative_error as derivative_error
from .evaluation.smoothness import metasmoothness as metasmoothness
from .memory import OutOfMemoryError as OutOfMemoryError
from .record.run import Run as Run
from .recording.trainers.huggingface import HuggingFaceRecorder as HuggingFaceRecorder
from .recording.trainers.lightning import LightningRecorder as LightningRecorder
from .recording.recorder import Recorder as Recorder
from .recording.tracker import TrainingDynamicsTracker as TrainingDynamicsTracker
from .tasks.coupling import CoupledBatchError as CoupledBatchError
from .tasks.custom import CustomTask as CustomTask
from .tasks.inference import TaskUnclearError as TaskUnclearError
from .training.from_run import training_of_run as training_of_run
from .training.step.by_hand import UnsupportedOptimizerError as UnsupportedOptimizerError
from .training.products import NoSecondDerivativeError as NoSecondDerivativeError
from .training.proof import LibraryChangedError as LibraryChangedError
from .training.recorded_steps import (
    OptimizerStateMissingError as OptimizerStateMissingError,
    ReplayMissingError as ReplayMissingError,
)
from .training.loss.trained_loss import TrainedLossError as TrainedLossError
from .training.flat_model import NotDeterministicError as NotDeterministicError
from .training.training import Training as Training
from .widgets.board.comparison import RunComparison as RunComparison
from .widgets.board.explorer import (
    Explorer as Explorer,
    explore as explore,
)
from .widgets.board.panel_views import (
    BiasView as BiasView,
    DynamicsMap as DynamicsMap,
    FeatureEvolution as FeatureEvolution,
    GradientFlow as GradientFlow,
    InfluenceExplorer as InfluenceExplorer,
    MemorizationTimeline as MemorizationTimeline,
    TransitionView as TransitionView,
)
from .widgets.export.photograph import PictureError as PictureError

__version__: str
