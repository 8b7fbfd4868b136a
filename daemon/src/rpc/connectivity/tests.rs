use std::sync::Mutex;

use tokio::time::Instant;

use super::*;
use crate::causes::chain;

type Answer = Box<dyn Fn(usize, &str) -> Option<Result<String, EndpointError>> + Send + Sync>;

/// Answers the nth ping, or never.
struct Double {
    answer: Answer,
    messages: Mutex<Vec<String>>,
}

impl Double {
    fn new(
        answer: impl Fn(usize, &str) -> Option<Result<String, EndpointError>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer: Box::new(answer),
            messages: Mutex::default(),
        }
    }

    fn echo() -> Self {
        Self::new(|_, message| Some(Ok(message.to_owned())))
    }

    fn silent() -> Self {
        Self::new(|_, _| None)
    }

    fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl Ping for Double {
    async fn ping(&self, message: &str, _: Duration) -> Result<String, EndpointError> {
        let nth = {
            let mut messages = self.messages.lock().unwrap();
            messages.push(message.to_owned());
            messages.len()
        };
        match (self.answer)(nth, message) {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

fn refused() -> EndpointError {
    EndpointError::Unreachable {
        context: "cannot connect".to_owned(),
        source: "connection refused".into(),
    }
}

fn broken() -> EndpointError {
    EndpointError::Failed("wrong version".to_owned())
}

async fn wait(control: &Double, data: &Double) -> Result<(), EndpointError> {
    wait_for_connectivity(control, data, Limits::default()).await
}

#[tokio::test(start_paused = true)]
async fn both_planes_get_the_same_random_message() {
    let (control, data) = (Double::echo(), Double::echo());
    wait(&control, &data).await.unwrap();
    let message = control.messages();
    assert_eq!(message, data.messages());
    assert!(Uuid::parse_str(&message[0]).is_ok());
    let other = Double::echo();
    wait(&other, &data).await.unwrap();
    assert_ne!(other.messages(), message);
}

#[tokio::test(start_paused = true)]
async fn the_data_plane_is_asked_every_second_until_it_answers() {
    let data = Double::new(|nth, message| {
        Some(if nth < 5 {
            Err(refused())
        } else {
            Ok(message.to_owned())
        })
    });
    let began = Instant::now();
    wait(&Double::echo(), &data).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 4);
    let messages = data.messages();
    assert!(messages.iter().all(|message| *message == messages[0]));
}

#[tokio::test(start_paused = true)]
async fn a_final_failure_of_one_plane_ends_the_wait_for_the_other() {
    let failing = || Double::new(|_, _| Some(Err(broken())));
    let began = Instant::now();
    let error = wait(&failing(), &Double::silent()).await.unwrap_err();
    assert_eq!(
        chain(&error),
        "no connectivity: ping on the control plane failed: wrong version"
    );
    assert!(!error.is_temporary());
    let error = wait(&Double::silent(), &failing()).await.unwrap_err();
    assert!(
        chain(&error).contains("ping on the data plane failed"),
        "{error}"
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn another_echo_is_a_failure() {
    let wrong = Double::new(|_, message| Some(Ok(format!("{message}!"))));
    let error = wait(&Double::echo(), &wrong).await.unwrap_err();
    assert!(!error.is_temporary());
    assert!(error.to_string().contains("data"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn when_time_is_over_the_silent_planes_are_named() {
    let began = Instant::now();
    let error = wait(&Double::silent(), &Double::silent())
        .await
        .unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 600);
    assert!(error.is_temporary());
    assert!(
        error.to_string().contains("control and data within 600s"),
        "{error}"
    );
    let error = wait(&Double::silent(), &Double::echo()).await.unwrap_err();
    assert!(error.to_string().contains("on control within"), "{error}");
    let refusing = Double::new(|_, _| Some(Err(refused())));
    let error = wait(&Double::echo(), &refusing).await.unwrap_err();
    assert!(error.to_string().contains("on data within"), "{error}");
    assert!(chain(&error).ends_with("cannot connect: connection refused"));
}
